"""`python -m tests.faults`: breaks real runs in every way, and prints the table of docs/faults.md."""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil

from tests.faults import damage, deployed, disk, kills, neighbours
from tests.faults.trials import Trial, moments, table, write
from tests.prefect_site import Site


def main() -> int:
    """Do the trials that the command line names; return 1 if anything was lost, or a part came to no end."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", help="kills, deployed, damage, disk, neighbours; all by default")
    parser.add_argument("--trials", type=int, default=50, help="how many kills of the command's processes")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--away", type=float, default=60, help="seconds that a deployment's server is gone")
    parser.add_argument("--json", type=Path, default=Path("work/faults.json"), help="all trials, one by one")
    parser.add_argument("--keep", type=Path, help="the folder of the runs; a temporary one by default")
    chosen = parser.parse_args()
    started, trials, broken = time.monotonic(), [], []
    with tempfile.TemporaryDirectory(prefix="mlperf-faults-") as temporary:
        parts = _parts(chosen, (chosen.keep or Path(temporary)).absolute())
        if unknown := set(chosen.parts) - set(parts):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(parts)}")
        for name, part in parts.items():
            if chosen.parts and name not in chosen.parts:
                continue
            try:
                trials += part()
            except Exception:  # the other parts tell something all the same
                traceback.print_exc()
                broken.append(name)
            write(trials, chosen.json)
    print(
        f"\n{len(trials)} trials on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, seed {chosen.seed}, "
        f"{(time.monotonic() - started) / 60:.0f} minutes, {psutil.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}.\n\n{table(trials)}\n\nSteps that a kill hit: {moments(trials)}.\n"
    )
    lost = [f"{trial.what} ({trial.moment}): {'; '.join(trial.lost)}" for trial in trials if trial.lost]
    print("\n".join(["Lost:", *lost] if lost else ["Nothing was lost."]))
    if broken:
        print(f"Came to no end, see above: {', '.join(broken)}")
    return 1 if lost or broken else 0


def _parts(chosen: argparse.Namespace, base: Path) -> dict[str, Callable[[], list[Trial]]]:
    def with_server(trials: Callable[[str], list[Trial]]) -> list[Trial]:
        """Where the command's own server is not what is tried, one server for all is quicker."""
        with closing(Site(base / "server")) as one:
            return trials(one.url)

    def disks() -> list[Trial]:
        if not disk.may_mount():
            _say("full disk: left out, since only root may mount a small file system")
            return []
        own = disk.full_disk_trials(base / "disk", say=_say)
        return own + with_server(lambda api: disk.full_disk_trials(base / "disk-apart", api=api, say=_say))

    return {
        "kills": lambda: kills.kill_trials(chosen.trials, chosen.seed, base / "kills", say=_say),
        "deployed": lambda: deployed.deployed_trials(
            base / "deployed", chosen.seed, deployed.faults(chosen.away), say=_say
        ),
        "damage": lambda: with_server(
            lambda api: damage.damage_trials(base / "damage", chosen.seed, api=api, say=_say)
        ),
        "disk": disks,
        "neighbours": lambda: with_server(
            lambda api: neighbours.two_flow_trials(base / "neighbours", api=api, say=_say)
        ),
    }


def _say(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
