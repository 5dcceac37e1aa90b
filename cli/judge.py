"""The commands that need no flow: validate a tree, make a page of it, describe this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from flows.terminal import lost_output
from mlperf_submission.errors import SettingError, TreeError
from mlperf_submission.failures import diagnose_rule
from mlperf_submission.files import write_output
from mlperf_submission.rounds import get_round
from mlperf_submission.submission.round import round_of
from mlperf_submission.validation import Failure, ResultVerdict, Verdict, validate_tree
from mlperf_submission.validation.official import OfficialVerdict, differences, official_verdict
from tasks.engine.spec import said_again

ACCEPTED, REFUSED = 0, 1
_SHOWN = 3
"""Failures of one rule that are shown; each rule that failed is shown, whatever the others are."""


def judge_tree(
    console: Console,
    tree: Path,
    round_name: str | None,
    json_file: Path | None,
    csv_file: Path | None,
    strict: bool,
    rehearsal: bool,
    official: Path | None = None,
) -> int:
    """Show the verdict on a tree and write it where asked. Without a round's name it is read from the logs.

    With a checkout of mlcommons/inference the official checker's verdict stands beside ours. It does not
    change the exit status: a rehearsal, which it knows nothing of, is refused by it.

    Returns:
        0 if the tree is accepted, 1 if it is refused.

    Raises:
        SettingError: there is no such tree or round, or the tree or its round cannot be read; or there is no
            checker of the round in the checkout (exit status 2).
    """
    require_tree(tree)
    try:
        round_name = round_name or round_of(tree)
        get_round(round_name)
        verdict = validate_tree(tree, round_name, strict=strict, rehearsal=rehearsal)
    except TreeError as error:  # 1 is for a tree that was judged
        raise SettingError(error.what, where=error.where, remedy=error.remedy) from error
    if json_file:
        write_output(json_file, verdict.to_json())
    if csv_file:
        write_output(csv_file, verdict.to_csv())
    show_verdict(console, verdict)
    if official:
        beside = official_verdict(tree, round_name, official)
        # A rehearsal is compared by the rules of a submission: the official checker knows no others.
        ours = validate_tree(tree, round_name, strict=strict) if rehearsal else verdict
        show_official(console, ours, beside)
    return ACCEPTED if verdict.ok else REFUSED


def show_official(console: Console, ours: Verdict, official: OfficialVerdict) -> None:
    """Print the official checker's errors, its verdict beside ours, and every difference between the two."""
    for error in official.errors:
        console.print(f"[dim]official[/] {escape(error)}", soft_wrap=True)
    console.print(f"[bold]{escape(ours.summary())}[/]", soft_wrap=True)
    console.print(f"[bold]{escape(official.summary())}[/] ({escape(official.checker)})", soft_wrap=True)
    found = differences(ours, official)
    for difference in found:
        console.print(f"[yellow]differs[/]  {escape(difference)}", soft_wrap=True)
    if not found:
        console.print(f"the two agree on {len(official.results)} results", soft_wrap=True)


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Print the results, each rule that failed with its places and remedies, and the verdict in one line."""
    console.print(_results(verdict.results), soft_wrap=True)
    for of_rule in _by_rule((*verdict.errors, *verdict.warnings)):
        for failure in of_rule[:_SHOWN]:
            _show_failure(console, failure)
        if len(of_rule) > _SHOWN:
            more = f"… and {len(of_rule) - _SHOWN} more of {of_rule[0].rule}; --json FILE has them all"
            console.print(escape(more), soft_wrap=True)
    for fact in verdict.by_design:
        console.print(f"[dim]{'notice':<8}[/] {escape(fact)}, by design", soft_wrap=True)
    console.print(f"[bold]{escape(verdict.summary())}[/]", soft_wrap=True)


def _results(results: Sequence[ResultVerdict]) -> Text:
    """Return a line for each result, in columns. A table of Rich takes longer for a round than its rules."""
    rows = [("system", "benchmark", "scenario", "result", "accuracy")]
    for one in results:
        value = f"{one.value:,.6g} {one.units}" if one.value is not None else "none"
        rows.append((one.system, one.benchmark, one.scenario, value, one.accuracy or "none"))
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    rows = [(*row[:3], row[3].rjust(widths[3]), row[4]) for row in rows]
    heading, *lines = ["  ".join(map(set_cell_size, row, widths)) for row in rows]
    text = Text.assemble((f"{heading}  accepted", "bold"))
    for line, one in zip(lines, results, strict=True):
        text.append(f"\n{line}  ").append(*(("yes", "green") if one.ok else ("no", "red")))
    return text


def _by_rule(failures: Iterable[Failure]) -> Iterable[list[Failure]]:
    """Return the failures of each rule together, errors before warnings, in the order of the verdict."""
    rules: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        rules.setdefault((failure.severity, failure.rule), []).append(failure)
    return rules.values()


def _show_failure(console: Console, failure: Failure) -> None:
    """Print one failure: the rule, the place, what is wrong, what to do, and what is done again."""
    colour = "red" if failure.severity == "error" else "yellow"
    console.print(
        f"[{colour}]{failure.severity:<8}[/] [bold]{escape(failure.rule):<6}[/] {escape(failure.path)}\n"
        f"         {escape(failure.message)}\n         [dim]{escape(failure.remedy)}[/]",
        soft_wrap=True,
    )
    if failure.severity == "error":
        redo = said_again(diagnose_rule(failure.rule, failure.message).redo)
        console.print(f"         [dim]Done again: {escape(redo)}[/]", soft_wrap=True)


def make_pages(
    tree: Path, system: str | None, out: Path, round_name: str | None, compare: list[Path]
) -> Path:
    """Make the page of one system of a tree, or of all of them; return the path of the first page.

    Args:
        tree: the root of the tree.
        system: the system's directory name; None for a page of all systems and one of each.
        out: the folder that receives the pages.
        round_name: the round of the tree; None: it is read from the logs.
        compare: trees whose systems with the same accelerator the system is compared with.

    Raises:
        SettingError: no such tree or round, or the tree has no such system.
    """
    from mlperf_submission.page.fleet import write_fleet
    from mlperf_submission.page.system_page import write_page

    for root in (tree, *compare):
        require_tree(root)
    round_name = round_name or round_of(tree)
    get_round(round_name)
    verdict = validate_tree(tree, round_name)
    if system is None:
        return write_fleet(tree, out, round_name=round_name, verdict=verdict, again=said_again)
    return write_page(
        tree,
        system,
        out,
        round_name=round_name,
        verdict=verdict,
        compare_trees=compare,
        again=said_again,
    )


def merge_into(console: Console, trees: list[Path], out: Path) -> None:
    """Merge trees of one submitter into a new one, and say what it holds.

    Raises:
        SettingError: a tree cannot be read.
        TreeError: the trees cannot stand in one submission; everything that is against it is named.
    """
    from mlperf_submission.tree.merge import merge_trees

    for tree in trees:
        require_tree(tree)
    merged = merge_trees(trees, out)
    console.print(
        f"{out}: {len(merged.systems)} systems of {merged.submitter}, {merged.files} files", soft_wrap=True
    )
    for name in merged.joined:
        console.print(f"joined: {name}", soft_wrap=True, markup=False)


def require_tree(tree: Path) -> None:
    """Raise SettingError unless the path is a folder that can be listed."""
    try:
        next(tree.iterdir(), None)
    except OSError as error:
        raise SettingError(
            f"the tree cannot be read: {error.strerror}",
            where=tree,
            remedy="give the folder that holds closed/, open/ or network/",
        ) from error


def describe_this_machine(console: Console, as_yaml: bool) -> None:
    """Print what this machine says of itself: a table with sources, or the block for a system file.

    Raises:
        SettingError: it could not be printed whole.
    """
    from mlperf_submission.description.describe import describe_machine

    found = describe_machine()
    console.print(
        found.as_yaml() if as_yaml else found.as_table(), markup=False, highlight=False, soft_wrap=True
    )
    lost = lost_output()
    if lost:
        raise SettingError(
            f"the description could not be written: {lost}",
            where="standard output",
            remedy="write it where there is space",
        )
