"""`python -m tools.docs`: writes the pages that are made from the code, and checks the links of all pages."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import command_line
from tools import failure_pages as failure_pages
from tools import rule_pages as rule_pages

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def documents(root: Path = ROOT) -> list[Path]:
    """Return every page that a person reads: those at the top, in docs/ and beside the models."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("models/**/*.md")])


def broken_links(root: Path = ROOT) -> list[str]:
    """Return `page: link` for every link of a page that leads to no file or to no heading."""
    return [f"{page.relative_to(root)}: {link}" for page in documents(root) for link in _broken(page)]


def _broken(page: Path) -> Iterator[str]:
    for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        name, anchor = match.groups()
        target = page.parent / name if name else page
        missing_heading = anchor and target.suffix == ".md" and anchor not in _anchors(target)
        if not target.exists() or missing_heading:
            yield match.group()[2:-1]


def _anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them, and of its explicit anchors."""
    if not page.is_file():
        return set()
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def main() -> int:
    """Write the generated pages; return 1 if a link leads nowhere."""
    for generator in (rule_pages, failure_pages, command_line):
        generator.PAGE.write_text(generator.page(), encoding="utf-8")
    broken = broken_links()
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
