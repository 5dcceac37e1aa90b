"""Trees, small and hostile, and one browser for the whole session."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared"
LENOVO = SHARED / "lenovo_v4.1"
SEED = SHARED / "seed" / "results_page_SR650_V3_3xL40S_TRT.txt"
LENOVO_SYSTEM = "SR650_V3_3xL40S_TRT"


@pytest.fixture(scope="session")
def lenovo() -> Path:
    """The published tree of the model system."""
    if not LENOVO.is_dir():
        pytest.skip("the folder ../shared with the published tree is not here")
    return LENOVO


@pytest.fixture(scope="session")
def seed() -> str:
    """The published page of the model system, in text."""
    if not SEED.is_file():
        pytest.skip("the folder ../shared with the published page is not here")
    return SEED.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, headless; nothing is loaded from the network."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page file; the test fails if the page runs or loads anything that it should not."""
    contexts = []
    complaints: list[str] = []

    def open_page(path: Path, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        address = path.resolve().as_uri()
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(address) else complaints.append(f"request: {request.url}")
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@dataclass
class Scenario:
    """One result to write into a tree."""

    benchmark: str = "resnet50"
    scenario: str = "Offline"
    values: Mapping[str, Any] = field(default_factory=dict)
    accuracy: str = "accuracy=76.100%, good=380, total=500\nhash=00\n"


OFFLINE_VALUES = {"result_samples_per_second": 1234.5, "effective_samples_per_query": 24576}
SERVER_VALUES = {
    "result_completed_samples_per_sec": 1000.25,
    "effective_target_latency_ns": 15_000_000,
    "effective_target_latency_percentile": 0.99,
    "result_min_latency_ns": 1_000_000,
    "result_mean_latency_ns": 4_000_000,
    "result_50.00_percentile_latency_ns": 3_000_000,
    "result_90.00_percentile_latency_ns": 8_000_000,
    "result_99.00_percentile_latency_ns": 12_000_000,
    "result_max_latency_ns": 21_000_000,
}


def detail_log(values: Mapping[str, Any]) -> str:
    """A detail log with these values, in LoadGen's form."""
    start = {"test_datetime": "2026-01-02T03:04:05Z", "loadgen_version": "6.0.17 @ abc"}
    lines = []
    ended = {"power_end": "01-02-2026 03:04:05.400", "result_validity": "VALID"}
    for order, (key, value) in enumerate({**start, **values, **ended}.items()):
        message = {
            "key": key,
            "value": value,
            "time_ms": 100.0 * order,
            "namespace": "mlperf::logging",
            "event_type": "POINT_IN_TIME",
            "metadata": {"is_error": False, "is_warning": False, "file": "x.cc", "line_no": 1},
        }
        lines.append(f":::MLLOG {json.dumps(message)}\n")
    return "".join(lines)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write a tree system by system; call it again to add one."""

    def make(
        system: str = "server_4",
        *,
        submitter: str = "Acme",
        division: str = "closed",
        description: Mapping[str, Any] | None = None,
        results: tuple[Scenario, ...] | None = None,
    ) -> Path:
        root = tmp_path / "tree"
        home = root / division / submitter
        fields = {
            "division": division,
            "submitter": submitter,
            "status": "available",
            "system_name": "Acme Server 4",
            "system_type": "datacenter",
            "number_of_nodes": 1,
            "accelerators_per_node": 2,
            "accelerator_model_name": "NVIDIA L40S",
            "framework": "TensorRT 10.2.0",
            **(description or {}),
        }
        _write(home / "systems" / f"{system}.json", json.dumps(fields))
        if results is None:
            results = (Scenario(values=OFFLINE_VALUES), Scenario(scenario="Server", values=SERVER_VALUES))
        for one in results:
            folder = home / "results" / system / one.benchmark / one.scenario
            _write(folder / "performance" / "run_1" / "mlperf_log_detail.txt", detail_log(one.values))
            _write(folder / "accuracy" / "accuracy.txt", one.accuracy)
        return root

    return make


@pytest.fixture
def scenario() -> type[Scenario]:
    """The class of results, for tests that write their own."""
    return Scenario


@pytest.fixture
def server_values() -> dict[str, Any]:
    """Values of a Server log."""
    return dict(SERVER_VALUES)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
