"""Which runs may stand in one submission; that they do, for real, is shown in tests/deployments."""

from __future__ import annotations

import pytest

from flows.fleet import fleet
from mlperf_submission.errors import SettingError, TreeError
from tasks.handover import HandedOver
from tasks.merge import fleet_of


def member(system: str, round_name: str = "v4.1", *, rehearsal: bool = False) -> HandedOver:
    address = f"s3://mlperf/candidates/{system}/abc"
    return HandedOver(system=system, run="abc", round=round_name, rehearsal=rehearsal, address=address)


def test_a_fleet_is_of_the_round_that_its_systems_share_whatever_their_order() -> None:
    made = fleet_of("round", [member("two"), member("one")], None, 60)
    assert made == fleet_of("round", [member("one"), member("two")], "v4.1", 60)
    assert made.round == "v4.1"
    assert not made.is_rehearsal


def test_systems_of_two_rounds_or_another_one_are_refused() -> None:
    with pytest.raises(TreeError, match=r"one round: one/abc \(v4.1\), two/abc \(v5.0\)"):
        fleet_of("round", [member("one"), member("two", "v5.0")], None, 60)
    with pytest.raises(TreeError, match=r"one round, v5.0: one/abc \(v4.1\)"):
        fleet_of("round", [member("one")], "v5.0", 60)


def test_a_rehearsal_never_stands_beside_results() -> None:
    with pytest.raises(TreeError, match="rehearsals cannot stand beside results: two of 2 systems"):
        fleet_of("round", [member("one"), member("two", rehearsal=True)], None, 60)
    assert fleet_of("round", [member("two", rehearsal=True)], None, 60).is_rehearsal


@pytest.mark.parametrize(
    ("skip", "message"), [(["three"], "skip names three"), (["one", "two"], "no system is left of the fleet")]
)
def test_who_is_left_out_is_looked_at_first(skip: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        fleet.fn(systems=["one", "two"], skip=skip)
    assert "one, two" in caught.value.remedy
