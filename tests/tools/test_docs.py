"""The documentation: generated pages are current, links lead somewhere, commands exist."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import command_line, docs

PUBLISHED = ROOT.parent / "shared" / "lenovo_v4.1"
REFERENCE = command_line.PAGE.read_text(encoding="utf-8")
SECTIONS = {
    name.removeprefix("mlperf-submission").strip(): text
    for name, text in re.findall(r"^#+ `(.+?)`\n(.*?)(?=^#+ `|\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
}


def test_the_reference_of_the_command_line_is_current() -> None:
    assert command_line.page() == REFERENCE, "run `make docs`"


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    assert docs.broken_links() == []


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").write_text("# A heading: with marks\n")
    (tmp_path / "page.md").write_text(
        "[1](docs/there.md#a-heading-with-marks) [2](docs/there.md#none) [3](docs/gone.md) [4](#none)\n"
        "```\n[5](in/a/listing.md)\n```\n[6](https://example.org/gone)\n"
    )
    assert docs.broken_links(tmp_path) == [
        "page.md: docs/there.md#none",
        "page.md: docs/gone.md",
        "page.md: #none",
    ]


def test_the_commands_of_the_pages_exist_with_their_options() -> None:
    wrong = []
    for page in docs.documents():
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"^(?:    |\$ )*(mlperf-submission [a-z][^\n#|]*)", text, re.MULTILINE):
            words = line.split()[1:]
            section = " ".join(words[:2]) if " ".join(words[:2]) in SECTIONS else words[0]
            options = re.findall(r"(?<=\s)--[a-z-]+", line)
            if section not in SECTIONS or any(f"`{option}" not in SECTIONS[section] for option in options):
                wrong.append(f"{page.relative_to(ROOT)}: {line}")
    assert wrong == []


def test_the_functions_that_a_result_passes_exist() -> None:
    text = (ROOT / "docs" / "one_result.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:cli|flows|tasks|models|mlperf_submission)(?:\.\w+)+)`", text)
    assert len(named) > 20
    for name in named:
        pkgutil.resolve_name(name)  # raises where it is gone


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the folder ../shared with the published tree is not here")
def test_the_python_of_the_pages_runs_on_a_published_tree(tmp_path: Path) -> None:
    (tmp_path / "submission").symlink_to(PUBLISHED)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{block}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        assert done.stdout.strip()
