"""What a person asks for is checked against the system file before anything runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cli.plan import show_plan
from flows.plan import make_plan
from flows.request import SubmissionRequest
from mlperf_submission.errors import SettingError
from models.registry import get_benchmark
from tasks.download import DOWNLOADS, download
from tasks.workspace import Workspace
from tests.mlperf_submission.validation.sample_official import MODULE, checkout


def test_everything_that_the_file_names_is_the_default() -> None:
    request = SubmissionRequest.checked("rehearsal")
    both = ["resnet50", "retinanet", "bert-99", "gptj-99"]
    assert {(one.benchmark, one.scenario.value) for one in request.results} == {
        ("3d-unet-99", "Offline"),
        *((name, scenario) for name in both for scenario in ("Offline", "Server")),
    }
    assert not request.full_length
    assert request.sample_count("resnet50") == request.loaded_samples("resnet50") == 200
    assert request.loaded_samples("retinanet") == 32, "there are no more, and the round's minimum is 64"
    assert request.largest_batch("resnet50") == 16


def test_full_length_takes_the_samples_of_the_round() -> None:
    request = SubmissionRequest.checked("rehearsal", scenarios=["Server"], full_length=True)
    assert {one.scenario for one in request.results} == {"Server"}
    assert request.sample_count("resnet50") == 50_000
    assert request.loaded_samples("resnet50") == 1024


def test_a_submission_that_would_keep_too_few_samples_loaded_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    system = tmp_path / "few.yaml"
    content = yaml.safe_load(Path("deployments/systems/SE455i_V3_2xL4_TRT.yaml").read_text())
    content["benchmarks"]["resnet50"]["performance_sample_count"] = 500
    system.write_text(yaml.safe_dump(content))
    with pytest.raises(
        SettingError,
        match=r"performance_sample_count is 500, the round asks for at least 1024 \[v6\.1 resnet50\]",
    ):
        SubmissionRequest.checked(str(system))


@pytest.mark.parametrize(
    ("models", "scenarios", "message"),
    [
        (["resnet51"], None, "models.0: Input should be .*'resnet50'.*, not 'resnet51'"),
        (None, ["Online"], "scenarios.0: Input should be 'Offline', .*, not 'Online'"),
        (
            None,
            ["SingleStream"],
            r"unknown scenario 'SingleStream' \[system .*\]\n.*it names: Offline, Server",
        ),
    ],
)
def test_what_the_file_does_not_name_is_refused(
    models: list[str] | None, scenarios: list[str] | None, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        SubmissionRequest.checked("rehearsal", models, scenarios)


def with_sources(folder: Path, sources: dict[str, str]) -> str:
    content = yaml.safe_load(Path("deployments/systems/SR650_V3_3xL40S_TRT.yaml").read_text())
    (folder / "system.yaml").write_text(yaml.safe_dump(content | {"sources": sources}))
    return str(folder / "system.yaml")


def test_a_persons_own_sources_take_the_place_of_the_published_ones(tmp_path: Path) -> None:
    given = {"gptj-99.network": str(tmp_path), "bert-99.quantized_network": "https://here.example/b.onnx"}
    request = SubmissionRequest.checked(with_sources(tmp_path, given))
    gptj, bert = (get_benchmark(name) for name in ("gptj-99", "bert-99"))
    own = request.full_edition(gptj)
    assert own.network.urls == (tmp_path.as_uri(),)
    assert own.data == gptj.facts.full.data
    published = bert.facts.full
    assert published.quantized_network
    taken = request.full_edition(bert).quantized_network
    assert taken and taken.urls == ("https://here.example/b.onnx",)
    assert taken.digest == published.quantized_network.digest
    assert request.full_edition(bert).network == published.network


@pytest.mark.parametrize(
    ("key", "own", "message"),
    [
        ("gptj-99.checkpoint", "/data/gptj", r"no source 'gptj-99.checkpoint'.*\n.*gptj-99.network, gptj"),
        ("gptj-99.network", "data/gptj", "neither an absolute path nor an https address"),
    ],
)
def test_a_source_that_cannot_be_is_refused(tmp_path: Path, key: str, own: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        SubmissionRequest.checked(with_sources(tmp_path, {key: own}))


def test_what_is_in_a_persons_folder_is_part_of_the_download(tmp_path: Path) -> None:
    """The step is found again as long as the folder is the same."""
    file = tmp_path / "checkpoint" / "weights.bin"
    file.parent.mkdir()
    file.write_bytes(b"one")
    request = SubmissionRequest.checked(with_sources(tmp_path, {"gptj-99.network": str(file.parent)}))
    published = get_benchmark("gptj-99").facts.full
    edition = request.full_edition(get_benchmark("gptj-99"))
    network, data = (download("", "gptj-99", edition, what, 1.0) for what in DOWNLOADS)
    first = network.inputs()
    assert network.inputs() == first
    file.write_bytes(b"other")
    assert network.inputs() != first
    assert data.inputs() == download("", "gptj-99", published, "data", 1.0).inputs()


def test_a_rehearsal_says_what_of_the_file_it_does_not_use(rehearsal_file: Path, tmp_path: Path) -> None:
    assert SubmissionRequest.checked(str(rehearsal_file)).notices == []
    content = yaml.safe_load(rehearsal_file.read_text())
    content["sources"] = {"resnet50.network": "/data/a.onnx"}
    content["licensed_data"] = {"imagenet": "/data/imagenet"}
    rehearsal_file.write_text(yaml.safe_dump(content))
    request = SubmissionRequest.checked(str(rehearsal_file))
    (notice,) = request.notices
    assert "sources (resnet50.network) and licensed_data (imagenet)" in notice
    stream = io.StringIO()
    show_plan(Console(file=stream, width=200), make_plan(Workspace.at(tmp_path / "work"), request))
    assert notice in stream.getvalue()


def test_a_persons_own_sources_stand_in_the_plan_without_passwords(tmp_path: Path) -> None:
    given = {
        "bert-99.network": "https://me:TOPSECRET@here.example/b.onnx?token=TOPSECRET",
        "bert-99.vocab.txt": "/data/vocab.txt",
    }
    request = SubmissionRequest.checked(with_sources(tmp_path, given))
    assert request.notices == []
    needs = make_plan(Workspace.at(tmp_path), request).needs
    own = {need.label: need.source for need in needs.disk if "your own" in need.source}
    assert own == {
        "bert-99 full network": "your own bert.onnx: https://here.example/b.onnx",
        "bert-99 full data": "your own vocab.txt: /data/vocab.txt",
    }


@pytest.mark.parametrize("own", ["http://me:TOPSECRET@here.example/b", "ftp://me:TOPSECRET@here.example/b"])
def test_a_refused_address_shows_no_password(tmp_path: Path, own: str) -> None:
    with pytest.raises(SettingError, match="neither an absolute path") as caught:
        SubmissionRequest.checked(with_sources(tmp_path, {"bert-99.network": own}))
    assert "TOPSECRET" not in str(caught.value)


def with_checker(system: Path, clone: Path | str) -> str:
    system.write_text(yaml.safe_dump(yaml.safe_load(system.read_text()) | {"official_checker": str(clone)}))
    return str(system)


def test_an_official_checker_that_cannot_judge_is_refused_before_anything_runs(
    rehearsal_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="there is no submission checker here"):
        SubmissionRequest.checked(with_checker(rehearsal_file, tmp_path / "nowhere"))
    with pytest.raises(SettingError, match="'clone' is no absolute path"):
        SubmissionRequest.checked(with_checker(rehearsal_file, "clone"))
    broken = checkout(tmp_path / "broken", "")
    program = broken / MODULE
    program.write_text(f"import no_such_library\n{program.read_text()}")
    with pytest.raises(SettingError, match=r"does not start: ModuleNotFoundError.*no_such_library"):
        SubmissionRequest.checked(with_checker(rehearsal_file, broken))
    other = checkout(tmp_path / "other", "")
    program = other / MODULE
    program.write_text(program.read_text().replace('"v4.1", ', ""))
    with pytest.raises(SettingError, match=r"the checker does not know v4\.1"):
        SubmissionRequest.checked(with_checker(rehearsal_file, other))


def test_an_official_checker_is_a_step_of_the_plan(rehearsal_file: Path, tmp_path: Path) -> None:
    def planned() -> list[str]:
        plan = make_plan(Workspace.at(tmp_path / "work"), SubmissionRequest.checked(str(rehearsal_file)))
        return [step.name for step in plan.steps][-5:]

    assert "check_officially" not in planned()
    with_checker(rehearsal_file, checkout(tmp_path / "clone", ""))
    assert planned() == ["package", "validate", "check_officially", "report", "upload"]


def test_a_search_without_a_server_is_refused() -> None:
    with pytest.raises(SettingError, match="only Offline, SingleStream, MultiStream is asked for") as caught:
        SubmissionRequest.checked("rehearsal_edge", search_minutes=1)
    assert "is a latency" in caught.value.remedy
    with pytest.raises(SettingError, match="only Offline is asked for"):
        SubmissionRequest.checked("rehearsal", scenarios=["Offline"], search_minutes=1)
    assert SubmissionRequest.checked("rehearsal", search_minutes=1).search_seconds == 60
