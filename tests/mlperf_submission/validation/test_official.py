"""The official checker beside ours: a stand-in that prints in its form; the real one is not ours to ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.validation import validate_tree
from mlperf_submission.validation.official import OfficialVerdict, differences, official_verdict
from tests.mlperf_submission.validation.sample_later import build_later
from tests.mlperf_submission.validation.sample_official import FILE, MODULE, checkout

PLACE = "closed/Acme/results/tin/resnet50"


def test_every_difference_is_told(tmp_path: Path) -> None:
    tree = build_later(tmp_path / "tree", "v6.0", "tin").root
    program = """
    log.error("%s Test duration less than 600s", base + "Offline" + run)
    log.error("%s Test duration less than 600s", base + "Offline" + run)
    log.info("Results %s %s", base + "SingleStream" + run, 123.25)
    log.error("NoResults %s", base + "Offline" + run)
    log.error("SUMMARY: submission has errors")
    sys.exit(1)
    """
    official = official_verdict(tree, "v6.0", checkout(tmp_path / "clone", program))
    assert official == OfficialVerdict(
        checker=MODULE.as_posix(),
        ok=False,
        results={f"{PLACE}/SingleStream": 123.25, f"{PLACE}/Offline": None},
        errors=(f"{PLACE}/Offline/performance/run_1/mlperf_log_detail.txt Test duration less than 600s",),
    )
    ours = validate_tree(tree, "v6.0")
    assert ours.ok
    single = next(one.value for one in ours.results if one.scenario == "SingleStream")
    assert differences(ours, official) == [
        f"{PLACE}/MultiStream: the official checker does not name it",
        f"{PLACE}/Offline: ours accepts it, the official checker refuses it",
        f"{PLACE}/SingleStream: ours reads {single}, the official checker 123.25",
        "the whole tree: ours accepts it, the official checker refuses it",
    ]


def test_where_both_agree_nothing_differs(tmp_path: Path) -> None:
    tree = build_later(tmp_path / "tree", "v6.0", "tin").root
    ours = validate_tree(tree, "v6.0")
    with_power = "{} with power_metric = 5.0 and power_efficiency (samples/J) = 9.9"
    lines = "".join(
        f'log.info("Results %s {with_power.format(one.value)}", base + "{one.scenario.lower()}" + run)\n'
        for one in ours.results
    )
    clone = checkout(tmp_path / "clone", lines + 'log.info("SUMMARY: submission looks OK")\n', FILE)
    official = official_verdict(tree, "v6.0", clone)
    assert (official.ok, official.checker) == (True, FILE.as_posix())
    assert differences(ours, official) == []
    assert official.summary() == "accepted by the official checker: 3 of 3 results, 0 errors"


def test_a_checker_that_breaks_off_is_no_verdict_of_acceptance(tmp_path: Path) -> None:
    tree = build_later(tmp_path / "tree", "v6.0", "tin").root
    official = official_verdict(tree, "v6.0", checkout(tmp_path / "clone", "int('two')\n"))
    assert not official.ok
    assert official.crashed == "ValueError: invalid literal for int() with base 10: 'two'"


def test_a_folder_without_a_checker_of_the_round_is_named(tmp_path: Path) -> None:
    tree = build_later(tmp_path / "tree", "v6.0", "tin").root
    with pytest.raises(SettingError, match="there is no submission checker here"):
        official_verdict(tree, "v6.0", tmp_path)
    with pytest.raises(SettingError, match=r"the checker does not know v6.1: .*invalid choice"):
        official_verdict(tree, "v6.1", checkout(tmp_path / "clone", ""))
