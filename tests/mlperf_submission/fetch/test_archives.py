"""Unpacking of good, damaged and hostile archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlperf_submission.errors import SourceError, StepTimeoutError
from mlperf_submission.fetch.archives import unpack_archive
from mlperf_submission.files import files_below

FILES = {"a.txt": b"abc", "deep/er/b.bin": bytes(range(256)) * 40, "empty": b""}


def tar_of(
    members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz", pax: dict[str, str] | None = None
) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, pax_headers=pax) as tar:  # type: ignore[call-overload]
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o4777
    return info


def zip_of(names: dict[str, bytes], mode: int = 0) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return packed.getvalue()


def plain_members() -> list[tuple[tarfile.TarInfo, bytes]]:
    folder = member("./", tarfile.DIRTYPE)
    return [(folder, b""), *((member(f"./{name}"), data) for name, data in FILES.items())]


GOOD: dict[str, Callable[[], bytes]] = {
    "tar": lambda: tar_of(plain_members(), "w"),
    "tar.gz": lambda: tar_of(plain_members(), "w:gz"),
    "tar.xz": lambda: tar_of(plain_members(), "w:xz"),
    "zip": lambda: zip_of(FILES),
}


@pytest.mark.parametrize("kind", GOOD)
def test_files_come_out_as_they_went_in(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "archive"  # its content says what it is
    archive.write_bytes(GOOD[kind]())
    unpack_archive(archive, tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix(): path for path in files_below(tmp_path / "out")}
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert all(path.stat().st_mode & 0o7111 == 0 for path in found.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: tar_of([(member("../x"), b"1")]), "would leave"),
    "absolute": (lambda: tar_of([(member("/x"), b"1")]), "would leave"),
    "deep parent": (lambda: tar_of([(member("a/../../x"), b"1")]), "would leave"),
    "link": (lambda: tar_of([(member("x", tarfile.SYMTYPE, "/etc/passwd"), b"")]), "is a link"),
    "hard link": (lambda: tar_of([(member("x", tarfile.LNKTYPE, "/etc/passwd"), b"")]), "is a link"),
    "device": (lambda: tar_of([(member("x", tarfile.CHRTYPE), b"")]), "a device"),
    "pipe": (lambda: tar_of([(member("x", tarfile.FIFOTYPE), b"")]), "a device"),
    "twice": (lambda: tar_of([(member("x"), b"1"), (member("./x"), b"2")]), "two members"),
    "file as folder": (lambda: tar_of([(member("x"), b"1"), (member("x/y"), b"2")]), "two members"),
    "zip parent": (lambda: zip_of({"../x": b"1"}), "would leave"),
    "zip backslash": (lambda: zip_of({"..\\x": b"1"}), "would leave"),
    "zip link": (lambda: zip_of({"x": b"/etc/passwd"}, mode=0o120777), "is a link"),
    "no archive": (lambda: b"hello", "damaged or no archive"),
    "empty": (lambda: b"", "damaged or no archive"),
    "cut off": (lambda: GOOD["tar.gz"]()[:200], "damaged"),
    "cut off zip": (lambda: GOOD["zip"]()[:-40], "damaged"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_or_damaged_archive_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    make, named = HOSTILE[kind]
    archive = tmp_path / "sub/archive"
    archive.parent.mkdir()
    archive.write_bytes(make())
    with pytest.raises(SourceError, match=named):
        unpack_archive(archive, tmp_path / "sub/out")
    assert [path.name for path in tmp_path.rglob("*")] == ["sub", "archive"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["tar", "tar.gz", "zip"]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path, kind: str, place: float, bit: int) -> None:
    data = bytearray(GOOD[kind]())
    data[int(place * len(data))] ^= 1 << bit
    archive, out = tmp_path / "archive", tmp_path / "out"
    archive.write_bytes(data)
    try:
        unpack_archive(archive, out)
    except SourceError:
        assert not out.exists()
    else:
        out.rename(tmp_path / f"out{len(list(tmp_path.iterdir()))}")


def test_unpacking_ends_when_the_check_says_so(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(GOOD["tar"]())

    def over() -> None:
        raise StepTimeoutError("over")

    with pytest.raises(StepTimeoutError):
        unpack_archive(tmp_path / "archive", tmp_path / "out", check=over)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(GOOD["tar"]())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("kept")
    with pytest.raises(SourceError, match="already something"):
        unpack_archive(tmp_path / "archive", tmp_path / "out")
    assert (tmp_path / "out/mine").read_text() == "kept"
