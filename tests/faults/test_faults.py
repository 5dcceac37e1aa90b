"""A few of the trials of `make faults`, which breaks runs in many more ways.

Its kills take minutes each; tests/flows/test_rehearsal.py has one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Rehearsal
from tests.faults.damage import damage_trials
from tests.faults.disk import full_disk_trials, may_mount
from tests.faults.flows import finish, system_file
from tests.prefect_site import Site
from tests.small_system import prepared_folder


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with closing(Site(folder)) as one:
        yield one.url


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, api: str, rehearsal: Rehearsal) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    prepared_folder(folder / "work", rehearsal.work)
    return finish(system_file(folder), folder / "work", api=api).work


def test_a_damaged_engine_or_page_is_found_by_its_hash_and_made_anew(
    undisturbed: Path, api: str, tmp_path: Path
) -> None:
    """The page that is made again belongs to the run that is in the store already, and is the same."""
    trials = damage_trials(tmp_path, seed=1, steps=("build_engine", "report"), finished=undisturbed, api=api)
    assert [trial.lost for trial in trials] == [(), ()]


@pytest.mark.skipif(not may_mount(), reason="only root may mount a file system that can be filled")
def test_a_full_disk_is_named_and_the_same_command_goes_on_when_it_is_freed(
    undisturbed: Path, tmp_path: Path
) -> None:
    [trial] = full_disk_trials(tmp_path, ("performance",), finished=undisturbed)
    assert trial.lost == ()
