"""A few inputs for every reader; `make fuzz` tries them at length."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import READERS, Reader


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_from_any_bytes_comes_a_result_or_an_error_of_ours(reader: Reader, data: st.DataObject) -> None:
    content = data.draw(reader.inputs())
    with tempfile.TemporaryDirectory() as folder:
        reader.holds(content, Path(folder))
