"""The command line: everything that a deployment can do, a person can do from a shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cli import store_commands
from cli.options import WorkOption, names_in, options
from flows.parameters import Asked, SubmissionParameters
from flows.terminal import Console, tolerate_output
from mlperf_submission.errors import PipelineError, SettingError
from mlperf_submission.files import disk_full_named, make_folder, own_folder, refusal_named

app = typer.Typer(
    name="mlperf-submission",
    help="Take one GPU server from nothing to a complete, checked MLPerf Inference submission in S3.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.add_typer(store_commands.app, name="store")

INTERRUPTED = 130
"""Exit status of a run that was stopped by Ctrl-C or SIGTERM, as shells have it."""


@app.command(epilog="Example: mlperf-submission run rehearsal --models resnet50 --scenarios Offline")
@options(SubmissionParameters)
def run(asked: SubmissionParameters) -> None:
    """Run everything that is not finished yet: prepare, measure, audit, package, validate, report, upload."""
    from cli.server import prefect_server
    from flows.request import SubmissionRequest

    request, home = SubmissionRequest.of(asked), own_folder(asked.work)
    make_folder(home / "logs")
    try:
        server = prefect_server(home / "prefect", home / "logs" / "prefect.log", used_by="cli.run")
        with disk_full_named(home), server:
            # Prefect reads its settings when it is imported, so it may be imported only now.
            from cli.run import run_submission

            run_submission(Console(), asked.model_copy(update={"work": home}), request)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; finished steps are kept, the same command goes on from there")
        # Prefect's threads may still wait for the server: what was running is ended, so leave at once.
        os._exit(INTERRUPTED)


@app.command(epilog="Example: mlperf-submission plan rehearsal --full-length")
@options(Asked)
def plan(asked: Asked) -> None:
    """List the steps with what is finished, the wall time, disk space and memory; start nothing."""
    from cli.plan import show_plan
    from flows.plan import make_plan
    from flows.request import SubmissionRequest
    from tasks.workspace import Workspace

    show_plan(Console(), make_plan(Workspace.at(asked.work), SubmissionRequest.of(asked)))


@app.command(epilog="Example: mlperf-submission validate TREE --json verdict.json")
def validate(
    tree: Annotated[Path, typer.Argument(help="The root of a submission tree (it holds closed/, open/, …).")],
    round_name: Annotated[
        str | None, typer.Option("--round", help="The round whose rules apply; none: read from the logs.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the verdict as JSON.")] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the results as the official CSV.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="Judge a rehearsal: its short durations are warnings.")
    ] = False,
    official: Annotated[
        Path | None,
        typer.Option(
            "--official",
            metavar="CHECKOUT",
            help="Run the official checker of this clone of mlcommons/inference too; show what differs.",
        ),
    ] = None,
) -> None:
    """Judge a submission tree: exit 0 if it is accepted, 1 if refused, 2 if it cannot be read."""
    from cli.judge import judge_tree

    raise typer.Exit(
        judge_tree(Console(), tree, round_name, json_file, csv_file, strict, rehearsal, official)
    )


@app.command(epilog="Example: mlperf-submission report TREE --system rehearsal --out page")
def report(
    tree: Annotated[Path, typer.Argument(help="The root of a submission tree.")],
    out: Annotated[Path, typer.Option("--out", help="The folder that receives the page.")],
    system: Annotated[
        str | None,
        typer.Option("--system", help="The system's directory name in the tree; none: all of them."),
    ] = None,
    round_name: Annotated[
        str | None, typer.Option("--round", help="The round of the tree; none: read from the logs.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option("--compare", help="Another tree to compare the system with; may be repeated."),
    ] = None,
) -> None:
    """Make the results page of one system of any submission tree, or of all of them."""
    from cli.judge import make_pages

    Console().print(str(make_pages(tree, system, out, round_name, compare or [])), soft_wrap=True)


@app.command(epilog="Example: mlperf-submission publish SR650_V3_3xL40S_TRT")
def publish(
    run_name: Annotated[
        str, typer.Argument(metavar="RUN", help="<system>/<run>, or <system> for its newest candidate.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Publish it without asking.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides; by default the user of this shell.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="Why; it is kept with the decision.")] = "",
    system: Annotated[
        str | None, typer.Option("--system", help="The system file that names the store; by default RUN's.")
    ] = None,
    work: WorkOption = Path("work"),
) -> None:
    """Show a candidate that lies in S3, ask, and publish exactly that run."""
    from cli.publishing import publish_run

    publish_run(Console(), run_name, yes, by, comment, system, work)


@app.command(epilog="Example: mlperf-submission merge one/tree two/tree --out merged")
def merge(
    trees: Annotated[list[Path], typer.Argument(help="The roots of trees of one submitter.", min=1)],
    out: Annotated[Path, typer.Option("--out", help="The folder that becomes the root of the merged tree.")],
) -> None:
    """Make one submission tree of several, system beside system; files that differ are all named."""
    from cli.judge import merge_into

    merge_into(Console(), trees, out)


@app.command(epilog="Example: mlperf-submission pack SR650_V3_3xL40S_TRT --out handed_in")
def pack(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_TREE...",
            help="Published runs (<system>/<run>, or <system> for its newest), or roots of trees.",
            min=1,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder that receives the archive and its receipt.")],
    round_name: Annotated[
        str | None, typer.Option("--round", help="The round of the tree; none: read from the logs.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="The system file that names the store; by default RUN's.")
    ] = None,
    work: WorkOption = Path("work"),
) -> None:
    """Make the archive that MLCommons takes, only of what its rules accept; several systems become one."""
    from cli.packing import pack as pack_sources

    pack_sources(Console(), sources, out, round_name, system, work)


@app.command(epilog="Example: mlperf-submission fetch rehearsal --to fetched --only resnet50 --dry-run")
def fetch(
    run_name: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="<system>/<run>, or <system> for its newest run; candidates/ before it: not published.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder that the run is restored into.")],
    only: Annotated[
        str | None,
        typer.Option(
            "--only", help="Only these parts of the run, e.g. resnet50,page (a benchmark, a folder, a file)."
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="The system file that names the store; by default RUN's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be fetched.")] = False,
    work: WorkOption = Path("work"),
) -> None:
    """Restore a run out of S3, whole or in part, and verify every file of it."""
    from flows.retrieve import RetrieveRequest, fetch_run

    request = RetrieveRequest.checked(run_name, to, only=names_in(only), system=system, dry_run=dry_run)
    fetch_run(Console(), request, work)


@app.command(epilog="Example: mlperf-submission describe --yaml > description.yaml")
def describe(
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print the block for a system file.")] = False,
) -> None:
    """Describe this machine for the system file, each field with its source."""
    from cli.judge import describe_this_machine

    describe_this_machine(Console(), as_yaml)


def main() -> None:
    """Run the command line; an expected failure is one message and an exit status, never a traceback."""
    tolerate_output()
    try:
        app(standalone_mode=True)
    except SettingError as error:
        _fail(error, 2)
    except PipelineError as error:
        from mlperf_submission.failures import explanation
        from tasks.engine.spec import said_again

        error.diagnosis = error.diagnosis or explanation(error, said_again)
        _fail(error, 1)
    except OSError as error:
        refusal = refusal_named(error)
        if refusal is None:
            raise
        _fail(refusal, 2)


def _fail(error: PipelineError, status: int) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
