"""A checkout with a stand-in of the official checker: it takes its options and prints in its form."""

from __future__ import annotations

import textwrap
from pathlib import Path

CHECKER = """
import argparse, logging, os, sys
FORM = "[%(asctime)s %(filename)s:%(lineno)d %(levelname)s] %(message)s"
logging.basicConfig(level=logging.INFO, format=FORM)
log = logging.getLogger("main")
parser = argparse.ArgumentParser()
parser.add_argument("--input", required=True)
parser.add_argument("--version", choices=["v4.1", "v5.1", "v6.0"])
parser.add_argument("--csv")
args = parser.parse_args()
base = args.input + "/closed/Acme/results/tin/resnet50/"
run = "/performance/run_1/mlperf_log_detail.txt"
log.info("Loading System log from %s", args.input)
"""
MODULE = Path("tools", "submission", "submission_checker", "main.py")
FILE = Path("tools", "submission", "submission_checker.py")


def checkout(folder: Path, rest: str, place: Path = MODULE) -> Path:
    (folder / place).parent.mkdir(parents=True)
    (folder / place).write_text(CHECKER + textwrap.dedent(rest))
    return folder
