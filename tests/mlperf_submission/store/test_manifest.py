"""Manifests: their names and paths, and whatever may be in their place."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlperf_submission.errors import StoreError
from mlperf_submission.store.manifest import Manifest, ManifestFile, hashes_in, read_manifest
from tests.mlperf_submission.store.stored_runs import MADE_BY, info

SEALED = Manifest(
    **info().model_dump(),
    files=(ManifestFile(path="a/b", size=3, sha256="ab" * 32, made_by=MADE_BY, etag="x"),),
).sealed()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def read(content: bytes) -> Manifest | None:
    """Read bytes as a manifest; None if they are refused by an error of ours."""
    hashes_in(content)
    try:
        return read_manifest(content, "s3://bucket/manifest.json")
    except StoreError as error:
        assert error.remedy
        return None


def test_a_sealed_manifest_is_read_as_it_was() -> None:
    found = read(SEALED)
    assert found is not None
    assert found.sealed() == SEALED
    assert hashes_in(SEALED) is not None and "ab" * 32 in (hashes_in(SEALED) or set())


@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda noise: SEALED + noise))
def test_any_bytes_are_a_manifest_or_an_error_of_ours(content: bytes) -> None:
    found = read(content)
    assert found is None or found.sealed() == SEALED


@given(st.integers(0, len(SEALED) - 1), st.binary(max_size=3), st.integers(0, 4))
def test_no_change_of_a_sealed_manifest_goes_unnoticed(at: int, put: bytes, cut: int) -> None:
    changed = SEALED[:at] + put + SEALED[at + cut :]
    found = read(changed)
    assert found is None or found.sealed() == SEALED, "another content was taken for the sealed one"


@given(st.sampled_from(sorted(json.loads(SEALED))), JSON)
def test_a_field_of_any_other_value_is_an_error_of_ours(field: str, value: object) -> None:
    fields = {**json.loads(SEALED), field: value}
    found = read(json.dumps(fields).encode())
    assert found is None or fields == json.loads(SEALED) or field in ("version", "seal")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"version": 1' + b"0" * 5000 + b"}",
        b'{"version": true}',
        b"NaN",
        b"\xef\xbb\xbf{}",
    ],
    ids=["deep list", "deep object", "long number", "true", "nan", "mark"],
)
def test_what_breaks_readers_of_json_is_an_error_of_ours(content: bytes) -> None:
    assert read(content) is None


SEGMENT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=8
).filter(lambda part: part not in (".", ".."))


@given(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), st.integers(0, 2**50))
def test_plain_paths_survive_json(path: str, size: int) -> None:
    file = ManifestFile(path=path, size=size, sha256="0" * 64, made_by=MADE_BY)
    manifest = Manifest(**info().model_dump(), files=(file,))
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@given(st.text("./\\ab\0", max_size=12))
def test_no_path_of_a_manifest_leaves_its_folder(path: str) -> None:
    try:
        file = ManifestFile(path=path, size=0, sha256="0" * 64)
    except ValidationError:
        return
    place = os.path.normpath(os.path.join("/root/folder", file.path))  # noqa: PTH118 - what the system would do
    assert place.startswith("/root/folder/")
    assert place == f"/root/folder/{path}"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "latest", "x" * 200, "a\n", "ü"])
def test_run_names_are_parts_of_keys(name: str) -> None:
    with pytest.raises(ValidationError):
        info(name)
