"""`make fuzz`: the readers in turn, each with new inputs, until the time is over; prints what it found."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.readers import READERS, Reader

_TURN_INPUTS = 300


def main() -> int:
    """Fuzz for some seconds; return 1 if a reader raised anything but an error of ours."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long")
    parser.add_argument("--reader", choices=[reader.name for reader in READERS], help="only this one")
    chosen = parser.parse_args()
    readers = [reader for reader in READERS if chosen.reader in (None, reader.name)]
    tried: Counter[str] = Counter()
    found: dict[str, str] = {}
    end = time.monotonic() + chosen.seconds
    while time.monotonic() < end:
        for reader in readers:
            if time.monotonic() < end:
                _turn(reader, tried, found)
    for reader in readers:
        faults = sum(key.startswith(f"{reader.name}: ") for key in found)
        print(f"{reader.name:<24}{tried[reader.name]:>10,} inputs, {faults} faults")
    return 1 if found else 0


def _turn(reader: Reader, tried: Counter[str], found: dict[str, str]) -> None:
    """Try some inputs, all new; of each fault keep the smallest input, by the place that raised."""

    @settings(
        max_examples=_TURN_INPUTS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(reader.inputs())
    def check(content: bytes) -> None:
        tried[reader.name] += 1
        with tempfile.TemporaryDirectory() as folder:
            reader.holds(content, Path(folder))

    try:
        check()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        key = f"{reader.name}: {type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
        if key not in found:
            found[key] = "".join(traceback.format_exception(error))
            print(f"{key}\n{found[key]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
