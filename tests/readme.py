"""The commands of the README, as they stand there."""

from __future__ import annotations

import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
OURS = [line for line in COMMANDS if line.startswith("mlperf-submission ")]
PREFECT = [line for line in COMMANDS if line.startswith("prefect ")]
"""Server, pool, worker, deployments and a run, in this order."""
