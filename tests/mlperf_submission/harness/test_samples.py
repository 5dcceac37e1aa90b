from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.harness import samples
from mlperf_submission.harness.samples import ResidentSamples, StreamSamples

COUNT = 700


class Numbers(StackedSamples):
    """Two inputs per sample, both made from its index."""

    def __len__(self) -> int:
        return COUNT

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        return {"a": np.stack([indices, -indices], axis=1), "b": indices.astype(np.int8)}


@given(
    loaded=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=600),
    picks=st.lists(st.integers(0, 10**6), min_size=1, max_size=16)
    | st.builds(
        lambda first, count: list(range(first, first + count)), st.integers(0, 999), st.integers(1, 16)
    ),
)
def test_resident_samples_are_gathered_as_the_samples_themselves_would_be(
    loaded: list[int], picks: list[int]
) -> None:
    resident = ResidentSamples(Numbers())
    view = StreamSamples(resident, COUNT, 16)
    resident.load(np.array([5, 6], np.int64))  # an earlier set must leave no trace
    resident.load(np.array(loaded, np.int64))
    view.prepare()
    indices = np.array([loaded[pick % len(loaded)] for pick in picks], np.int64)
    found, expected = view.rows(indices), Numbers().rows(indices)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name])
    assert len(view) == COUNT


def test_a_batch_in_one_piece_is_copied_only_if_it_fits_into_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resident = ResidentSamples(Numbers())
    view = StreamSamples(resident, COUNT, 16)
    resident.load(np.arange(40))
    view.prepare()
    together, apart = np.arange(8, 20), np.array([3, 9])
    assert not np.shares_memory(view.rows(together)["a"], resident.arrays["a"])
    monkeypatch.setattr(samples, "_FITS_INTO_CACHE", 0)
    assert np.shares_memory(view.rows(together)["a"], resident.arrays["a"])
    np.testing.assert_array_equal(view.rows(together)["a"], Numbers().rows(together)["a"])
    assert not np.shares_memory(view.rows(apart)["a"], resident.arrays["a"])
