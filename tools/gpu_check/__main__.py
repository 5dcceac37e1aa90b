"""`python -m tools.gpu_check`: runs every part that this machine can, and says what was not run and why.

Each part's figures are written to `gpu_check.json` in the work folder as soon as it ends: a second call goes
on where the first one was broken off, and runs again what could not run or failed. With TensorRT, call
`mlperf-submission run SYSTEM --weights random` before: its engines are taken.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlperf_submission.files import write_atomic
from mlperf_submission.harness.lock import host_lock
from tools.gpu_check import device, engines, host
from tools.gpu_check.parts import Bench, NotRunError, Part

PARTS: dict[str, Part] = {**device.PARTS, **engines.PARTS, **host.PARTS}
"""Those that need no GPU last: the time on one may be short."""


def main() -> None:
    """Run the parts that are not done, and print everything that is known."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", help=f"of: {', '.join(PARTS)}; all by default")
    parser.add_argument("--work", type=Path, default=Path("work"), help="where results and engines are")
    parser.add_argument("--system", default="SR650_V3_3xL40S_TRT", help="the system file of the engines")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long one rate is measured")
    parser.add_argument("--minutes", type=float, default=7.5, help="begin no part after so long")
    parser.add_argument(
        "--lock", type=Path, help="another lock than the one that measurements of this host take"
    )
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    results = chosen.work / "gpu_check.json"
    done: dict[str, Any] = {}
    if results.is_file() and not chosen.again:
        done = json.loads(results.read_text())
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch,
        host_lock(chosen.lock, False, 3600, what="the check of the GPU", on_wait=print),
    ):
        bench = Bench(Path(scratch), chosen.work, chosen.system, chosen.seconds)
        for name in chosen.parts or PARTS:
            if done.get(name, {}).get("outcome") == "done":
                continue
            if time.monotonic() - started > 60 * chosen.minutes:
                done[name] = {
                    "outcome": "not run",
                    "why": f"{chosen.minutes} minutes were over: call it again",
                }
            else:
                print(f"{name} …", flush=True)
                done[name] = _outcome(PARTS[name], bench)
            write_atomic(results, json.dumps(done, indent=2))
    text = _text(done)
    write_atomic(chosen.work / "gpu_check.txt", text)
    print(text)
    if any(one["outcome"] == "failed" for one in done.values()):
        raise SystemExit(1)


def _outcome(part: Part, bench: Bench) -> dict[str, Any]:
    began = time.monotonic()
    try:
        outcome: dict[str, Any] = {"outcome": "done", "figures": part(bench)}
    except NotRunError as error:
        outcome = {"outcome": "not run", "why": str(error)}
    except Exception as error:  # whatever a machine that nobody has seen brings up
        outcome = {"outcome": "failed", "why": repr(error), "traceback": traceback.format_exc()}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**outcome, "at": now, "seconds": round(time.monotonic() - began, 1)}


def _text(done: dict[str, Any]) -> str:
    lines = []
    for name, one in done.items():
        lines.append(f"{name}: {one['outcome']}" + (f" ({one['why']})" if "why" in one else ""))
        for key, value in one.get("figures", {}).items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            lines.append(f"    {key}: {shown}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
