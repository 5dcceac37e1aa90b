"""A rule is added in the file of its section, with its mutation, and nowhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.copies import copy_project

RULE = """
        "+toy": Rule(
            Runs.where(timed),
            "A run asks for no 3 queries a second.",
            passes=lambda d: d.effective_target_qps != 3,
            message="effective_target_qps is {effective_target_qps:g}{place}",
            why="It is a toy.",
            remedy="Ask for 4.",
        ),"""
MUTATION = 'warning("+toy", "three_queries_a_second", lambda s: s.log(RUN, effective_target_qps=3))\n'
TESTS = "tests/mlperf_submission"
COPIED = ("mlperf_submission", "tools", f"{TESTS}/validation")


def test_a_rule_is_its_section_and_its_mutation(tmp_path: Path) -> None:
    copy_project(tmp_path, COPIED)
    for file in ("tests/conftest.py", f"{TESTS}/test_failures.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "docs").mkdir()
    section = tmp_path / "mlperf_submission/validation/performance.py"
    before, begin, after = section.read_text().partition("RULES = catalogue(\n    {")
    section.write_text(before + begin + RULE + after)
    with (tmp_path / TESTS / "validation/sample_mutations.py").open("a") as stream:
        stream.write(MUTATION)

    def run(*arguments: str) -> str:
        command = [sys.executable, "-P", *arguments]
        environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    test = ("-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-k")
    mutations = f"{TESTS}/validation/test_validation_mutations.py"
    assert "2 passed" in run(*test, "three_queries or lacks_a_mutation", mutations)
    assert "1 passed" in run(*test, "groups_have_rules", f"{TESTS}/test_failures.py")
    run("-m", "tools.rule_pages")
    page = (tmp_path / "docs/rules.md").read_text()
    assert '<a id="plus-toy"></a>+toy\n\nA run asks for no 3 queries a second.' in page
    assert "- **Severity**: warning" in page.partition("+toy\n")[2][:200]
