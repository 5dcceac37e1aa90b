"""The logs of LoadGen, read as streams."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import LogError
from mlperf_submission.submission.accuracy_log import AccuracyLogEntry, read_accuracy
from mlperf_submission.submission.detail_log import read_detail
from mlperf_submission.submission.messages import LONGEST_MESSAGE


def message(key: str, value: object, *, error: bool = False, warning: bool = False) -> str:
    flags = {"is_error": error, "is_warning": warning, "file": "x.cc", "line_no": 1, "pid": 1, "tid": 1}
    return ":::MLLOG " + json.dumps({"key": key, "value": value, "time_ms": 0.1, "metadata": flags})


def written(folder: Path, text: str | bytes, name: str = "log") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_first_value_of_a_key_counts_and_the_other_is_remembered(tmp_path: Path) -> None:
    text = "\n".join([message("result_validity", "VALID"), "noise", message("result_validity", "INVALID")])
    log = read_detail(written(tmp_path, text))
    assert log.require("result_validity") == "VALID"
    assert log.valid
    assert log.later_values == {"result_validity": "INVALID"}


def test_errors_and_warnings_are_told_apart(tmp_path: Path) -> None:
    text = "\r\n".join([message("a", "bad", error=True), message("b", "odd", warning=True), message("c", 1)])
    log = read_detail(written(tmp_path, text))
    assert (log.errors, log.warnings, log.error_count) == (("bad",), ("odd",), 1)


def test_missing_key_says_which_and_where(tmp_path: Path) -> None:
    log = read_detail(written(tmp_path, message("a", 1)))
    with pytest.raises(LogError, match="no result_validity") as caught:
        log.require("result_validity")
    assert caught.value.where.endswith("log")


@pytest.mark.parametrize(
    "line",
    [b':::MLLOG {"key": "a", ', b":::MLLOG 3", b':::MLLOG {"key": "a"}', b"\xff\xfe", b":::MLLOG \xff"],
)
def test_damage_is_a_log_error(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(LogError):
        read_detail(written(tmp_path, message("a", 1).encode() + b"\n" + line))


def test_missing_file_is_a_log_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be read"):
        read_detail(tmp_path / "none")
    with pytest.raises(LogError, match="cannot be read"):
        list(read_accuracy(tmp_path / "none"))


def test_line_of_any_length_is_passed_over_but_its_error_flag_is_read(tmp_path: Path) -> None:
    long = message("loaded_qsl_set", "7" * (LONGEST_MESSAGE * 3), error=True)
    log = read_detail(written(tmp_path, "\n".join([message("a", 1), long, message("b", 2)])))
    assert dict(log.values) == {"a": 1, "b": 2}
    assert log.error_count == 1


def test_long_list_of_numbers_is_checked_but_not_kept(tmp_path: Path) -> None:
    whole = message("loaded_qsl_set", list(range(2000))).replace(", ", ",")
    log = read_detail(written(tmp_path, whole + "\n" + message("a", 1)))
    assert dict(log.values) == {"a": 1}
    with pytest.raises(LogError):
        read_detail(written(tmp_path, whole.replace(",77,", ",77,,")))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(min_size=1), json_values, max_size=5))
def test_every_value_comes_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    text = "\n".join(message(key, value) for key, value in values.items())
    assert read_detail(written(tmp_path_factory.mktemp("log"), text)).values == values


ASKED = frozenset({"effective_", "sut_name", "power_end"})
KEYS = ("effective_target_qps", "effective_x", "sut_name", "sut_names", "loaded_qsl_set", "power_end", "a b")
GOOD = ("7", "-1.5e+3", "true", '"x"', r'"a\"b\/"', r'"\u00fc"', "null", "[1,2,3]", "[]", '{"a": 1}')
LISTS = (str(list(range(2000))).replace(", ", ","), "1" * 200)
BAD = ("[1,,2]", "01")
loadgen_lines = st.builds(
    '%s {"key": "%s", "value": %s, "time_ms": %s, "namespace": "mlperf::logging", "event_type": '
    '"POINT_IN_TIME", "metadata": {"is_error": %s, "is_warning": %s, "file": "x.cc", "line_no": 1, "pid": 1, '
    '"tid": 1}}%s'.__mod__,
    st.tuples(
        st.sampled_from([":::MLLOG", ":::MLLOG", ":::MLLOG", "#"]),
        st.sampled_from(KEYS),
        st.sampled_from(GOOD * 4 + LISTS + BAD),
        st.sampled_from(["0", "1.25", "12345.678901"]),
        *[st.sampled_from(["false", "false", "false", "true"])] * 2,
        st.sampled_from(["", " ", "\t"]),
    ),
)


def asked(part: Mapping[str, object] | None) -> dict[str, object]:
    return {key: said for key, said in (part or {}).items() if key in ASKED or key.startswith("effective_")}


@given(st.lists(loadgen_lines, max_size=12), st.sampled_from(["", "\n"]))
def test_keys_that_are_asked_for_come_back_as_if_all_were_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str
) -> None:
    path = written(tmp_path_factory.mktemp("log"), "\n".join(lines) + end)
    try:
        whole = read_detail(path)
    except LogError as error:
        with pytest.raises(LogError, match=re.escape(str(error))):
            read_detail(path, keys=ASKED)
        return
    some = read_detail(path, keys=ASKED)
    assert some.values == asked(whole.values)
    assert some.later_values == asked(whole.later_values)
    assert some.lines == asked(whole.lines)
    assert some.written_ms == asked(whole.written_ms)
    assert (some.errors, some.warnings, some.error_count) == (whole.errors, whole.warnings, whole.error_count)
    assert (some.first_line_is_message, some.last_ms) == (whole.first_line_is_message, whole.last_ms)


@given(st.binary(max_size=300))
def test_no_content_breaks_the_readers(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = written(tmp_path_factory.mktemp("log"), content)
    for read in (read_detail, lambda path: list(read_accuracy(path))):
        try:
            read(path)
        except LogError as error:
            assert error.remedy


entries = st.lists(
    st.builds(
        AccuracyLogEntry,
        st.integers(0, 2**60),
        st.integers(0, 2**60),
        st.binary(max_size=40),
        st.none() | st.integers(0, 99),
    ),
    max_size=6,
)


def as_json(entry: AccuracyLogEntry) -> str:
    tokens = "" if entry.token_count is None else f', "token_count" : {entry.token_count}'
    data = entry.data.hex().upper()
    return f'{{ "seq_id" : {entry.seq_id}, "qsl_idx" : {entry.qsl_idx}, "data" : "{data}"{tokens} }}'


@given(entries, st.sampled_from([",\n", ",", " , \r\n"]))
def test_every_response_comes_back(
    tmp_path_factory: pytest.TempPathFactory, responses: list[AccuracyLogEntry], between: str
) -> None:
    text = "[\n" + between.join(map(as_json, responses)) + "\n]\n"
    assert list(read_accuracy(written(tmp_path_factory.mktemp("log"), text))) == responses


def test_truncated_log_is_named_after_its_whole_entries(tmp_path: Path) -> None:
    whole = as_json(AccuracyLogEntry(1, 2, b"\x01\x02"))
    found: list[AccuracyLogEntry] = []
    with pytest.raises(LogError, match=r"damaged"):
        list(read_accuracy(written(tmp_path, f"[\n{whole},\n{whole[:20]}\n...\n{whole[9:]}")))
    with pytest.raises(LogError, match="breaks off after 1"):
        for entry in read_accuracy(written(tmp_path, f"[\n{whole},\n{whole[:20]}")):
            found.append(entry)
    assert found == [AccuracyLogEntry(1, 2, b"\x01\x02")]


def test_response_larger_than_a_block_comes_back(tmp_path: Path) -> None:
    entry = AccuracyLogEntry(0, 0, bytes(range(256)) * 8192)
    assert list(read_accuracy(written(tmp_path, f"[{as_json(entry)}]"))) == [entry]
