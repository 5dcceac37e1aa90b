"""The comparison of two trees sees everything but what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.trees import same_but_measured

FILES = {
    "results/mlperf_log_detail.txt": "".join(
        f":::MLLOG {json.dumps({'key': key, 'value': value, 'time_ms': time})}\n"
        for key, value, time in [
            ("effective_min_duration_ms", 500, 1.0),
            ("result_validity", "VALID", 2.0),
            ("result_samples_per_second", 2837.13, 3.0),
            ("requested_server_target_qps", 204, 4.0),
        ]
    ),
    "results/mlperf_log_accuracy.json": json.dumps(
        [{"seq_id": 0, "qsl_idx": 7, "data": "02000000"}, {"seq_id": 1, "qsl_idx": 9, "data": "05000000"}]
    ),
    "measurements/README.md": "latency limit (ns): 0\nbegan (UTC): 2026-11-23T16:07:58Z\n",
    "measurements/user.conf": "*.Server.target_qps = 204\n",
}


def tree(folder: Path, **changed: tuple[str, str]) -> Path:
    for name, text in FILES.items():
        old, new = changed.get(Path(name).stem, ("", ""))
        path = folder / "closed" / "Rehearsal" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(old, new, 1))
    return folder


def test_measured_values_may_differ(tmp_path: Path) -> None:
    measured = {
        "mlperf_log_detail": ('"VALID", "time_ms": 2.0', '"INVALID", "time_ms": 2.0'),
        "user": ("204", "326"),
        "README": ("16:07:58", "16:18:53"),
        "mlperf_log_accuracy": ('{"seq_id": 0, "qsl_idx": 7, "data": "02000000"}, ', ""),
    }
    assert same_but_measured(tree(tmp_path / "a"), tree(tmp_path / "b", **measured)) == []
    rate = {"mlperf_log_detail": ("204", "326")}
    assert same_but_measured(tmp_path / "a", tree(tmp_path / "c", **rate)) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mlperf_log_detail", "500", "600"),
        ("user", "Server", "Offline"),
        ("mlperf_log_detail", "result_samples_per_second", "result_queries_per_second"),
        ("mlperf_log_accuracy", "02000000", "03000000"),
        ("README", "(ns): 0", "(ns): 1"),
        ("README", "began", "ended"),
    ],
)
def test_anything_else_is_a_difference(tmp_path: Path, name: str, old: str, new: str) -> None:
    other = tree(tmp_path / "b", **{name: (old, new)})
    [difference] = same_but_measured(tree(tmp_path / "a"), other)
    assert name in difference


def test_a_file_too_few_is_a_difference(tmp_path: Path) -> None:
    other = tree(tmp_path / "b")
    (other / "closed" / "Rehearsal" / "measurements" / "README.md").unlink()
    differences = same_but_measured(tree(tmp_path / "a"), other)
    assert any("README.md: only in" in difference for difference in differences)
