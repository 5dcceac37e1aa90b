"""The pages of the rules, made from the code: `python -m mlperf.validation.pages` writes docs/rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mlperf.rounds import ROUNDS
from mlperf.validation.catalogue import ELSEWHERE
from mlperf.validation.judge import SECTIONS, all_rules
from mlperf.validation.rules import Rule

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "rules"
_COVERS = {
    "root": "the whole tree",
    "division": "the division",
    "submitter": "the submitter",
    "system": "the system's results",
    "model": "the model's results",
    "result": "the result",
    "nothing": "nothing else: other results stay accepted",
}


def file_name(rule_id: str) -> str:
    """Return the name of a rule's page."""
    return f"{rule_id.replace('+', 'plus-')}.md"


def page(rule: Rule) -> str:
    """Return a rule's page as Markdown."""
    lines = [
        f"# {rule.id}",
        "",
        rule.what,
        "",
        f"- **Severity in v4.1**: {rule.severity}"
        + ("" if rule.severity == "error" else " (`--strict` makes it an error)"),
        f"- **Why**: {rule.why}",
        f"- **What to do**: {rule.remedy}",
        f"- **Looked at**: {_row(rule)}",
    ]
    if rule.severity == "error" or rule.covers != "nothing":
        lines.append(f"- **Refused with it**, when it is an error: {_COVERS[rule.covers]}")
    relaxed = [name for name, round_ in ROUNDS.items() if rule.id in round_.unenforced]
    enforced = [name for name, round_ in ROUNDS.items() if rule.id in round_.enforced]
    if relaxed:
        lines.append(f"- **Only a warning in**: {', '.join(relaxed)}, whose checker does not look")
    if enforced:
        lines.append(f"- **An error in**: {', '.join(enforced)}")
    if rule.in_rehearsal:
        lines.append("- **In a rehearsal**: a notice, because it hangs on speed, length or completeness")
    return "\n".join(lines) + "\n"


def _row(rule: Rule) -> str:
    text = (rule.row.__doc__ or "").split("\n\n")[0].split(". ")[0].rstrip(".")
    return " ".join(text.split())


def index() -> str:
    """Return the page that lists all rules by section."""
    lines = [
        "# The rules of a submission",
        "",
        "Made from the code by `python -m mlperf.validation.pages`. Ids are those of the catalogue. Ids with",
        "a leading `+` are our own: the official checker lets these pass, and the page says why it is wrong.",
    ]
    for section in SECTIONS:
        title = (section.__doc__ or "").strip().split("\n")[0]
        lines += ["", f"## {title}", "", "| rule | severity | what must hold |", "|---|---|---|"]
        lines += [
            f"| [{rule.id}]({file_name(rule.id)}) | {rule.severity} | {rule.what} |" for rule in section.RULES
        ]
    lines += ["", "## Ids of the catalogue without a page", "", "| id | where it is |", "|---|---|"]
    lines += [f"| {one} | {place} |" for one, place in ELSEWHERE.items()]
    return "\n".join(lines) + "\n"


def pages() -> Mapping[str, str]:
    """Return all pages by their file names."""
    return {"README.md": index()} | {file_name(rule.id): page(rule) for rule in all_rules()}


def outdated(folder: Path = FOLDER) -> list[str]:
    """Return the names of pages that are missing, differ from the code, or belong to no rule."""
    wanted = pages()
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))


def write(folder: Path = FOLDER) -> None:
    """Write all pages and delete those of rules that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for path in folder.glob("*.md"):
        if path.name not in wanted and re.match(r"^([A-Z]-\d+|plus-[a-z-]+)\.md$", path.name):
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
