"""`mlperf-submission plan`: the steps with what is finished, the time that is left, and what it needs."""

from __future__ import annotations

from datetime import datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.console import clock
from flows.needs import Needs, in_bytes, total
from flows.plan import Plan


def show_plan(console: Console, plan: Plan) -> None:
    """Print the plan as a table, with the time left and when it would end."""
    table = Table(header_style="bold")
    for heading in ("step", "for", "expected", ""):
        table.add_column(heading, justify="right" if heading == "expected" else "left")
    for step in plan.steps:
        table.add_row(
            step.name, step.label, clock(step.seconds), "[green]finished[/]" if step.done else "to do"
        )
    console.print(table)
    show_needs(console, plan.needs)
    measuring, rest = plan.seconds_of(measuring=True), plan.seconds_of(measuring=False)
    console.print(
        f"{plan.timed + plan.untimed} runs of LoadGen, {plan.timed} of them timed: "
        f"{'' if plan.official else 'as a submission '}at least {clock(plan.floor)} by the round's rules at "
        f"these targets, expected {clock(measuring)}; {clock(rest)} for everything else (a guess where it "
        "was never done here)"
    )
    show_notices(console, plan)
    end = datetime.now().astimezone() + timedelta(seconds=plan.seconds_left)
    console.print(
        f"{plan.finished} of {len(plan.steps)} steps finished; about {clock(plan.seconds_left)} to go, "
        f"until {end:%a %H:%M %Z} if started now"
    )


def show_notices(console: Console, plan: Plan) -> None:
    """Print what of the system file is not used."""
    for notice in plan.notices:
        console.print(f"note: {notice}", soft_wrap=True, markup=False)


def show_needs(console: Console, needs: Needs) -> None:
    """Print what is needed beside what is free."""
    table = Table(header_style="bold")
    for heading in ("needs", "for", "space", "from"):
        table.add_column(heading, justify="right" if heading == "space" else "left")
    for need in (*needs.disk, *needs.memory, *needs.device):
        table.add_row(need.what, need.label, in_bytes(need.size), need.source)
    if table.row_count:
        console.print(table)
    upload = f"; {in_bytes(needs.upload)} go to S3" if needs.upload else ""
    console.print(
        f"disk: {in_bytes(total(needs.disk))} needed, {in_bytes(needs.free_disk)} free{upload}; memory: "
        f"{in_bytes(total(needs.memory))} needed by the largest step, {in_bytes(needs.free_memory)} free"
        + (f"; {in_bytes(needs.device_memory)} of each GPU" if needs.device and needs.device_memory else "")
    )
    for problem in needs.problems():
        console.print(f"[bold red]does not fit:[/] {escape(problem)}")
