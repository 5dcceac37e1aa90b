"""The model system's file says what was published of it."""

from __future__ import annotations

import pytest

from mlperf_submission.config.system import System, Tuning, load_system
from mlperf_submission.rounds import Scenario
from mlperf_submission.submission.description import KNOWN, NETWORK
from models.registry import benchmark_names, get_benchmark

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
FACTS = {
    "system_name": "ThinkSystem SR650 V3 (3x NVIDIA L40S, TensorRT)",
    "status": "available",
    "number_of_nodes": 1,
    "host_processor_model_name": "Intel(R) Xeon(R) Gold 6438N",
    "host_processors_per_node": 2,
    "host_processor_core_count": 32,
    "host_memory_capacity": "512 GB",
    "host_memory_configuration": "16x 32GB M321R4GA3BB6-CQKDS",
    "host_storage_capacity": "2 TB SSD",
    "host_storage_type": "NVMe SSD",
    "host_networking": "Gig Ethernet",
    "host_network_card_count": "1",
    "accelerators_per_node": 3,
    "accelerator_model_name": "NVIDIA L40S",
    "accelerator_memory_capacity": "48 GB",
    "accelerator_memory_configuration": "GDDR6",
    "accelerator_interconnect": "N/a",
    "cooling": "Air-cooled",
    "framework": "TensorRT 10.2.0, CUDA 12.5",
    "operating_system": "Ubuntu 22.04.4",
    "other_software_stack": "TensorRT 10.2.0, CUDA 12.5, cuDNN 8.9.7, Driver 555.42",
}
"""What the published description says, beside fields that it leaves empty or not applicable."""
RATES = {
    ("resnet50", OFFLINE): 135000,
    ("resnet50", SERVER): 132000,
    ("retinanet", OFFLINE): 2400,
    ("retinanet", SERVER): 2200,
    ("bert-99", OFFLINE): 9600,
    ("bert-99", SERVER): 9300,
    ("3d-unet-99", OFFLINE): 11,
    ("gptj-99", OFFLINE): 36,
    ("gptj-99", SERVER): 36,
}
"""The target rates in the logs of the published performance runs, queries/s or samples/s."""
AUDIT_RATES = {"resnet50": 126720, "retinanet": 2112, "bert-99": 8928}
"""Those of the published audits in Server."""
SAMPLE_COUNTS = {"resnet50": 2048, "retinanet": 64, "bert-99": 10833, "3d-unet-99": 43, "gptj-99": 13368}
WEIGHTS = {
    "resnet50": "int8",
    "retinanet": "int8",
    "bert-99": "int8",
    "3d-unet-99": "int8",
    "gptj-99": "fp16",
}


@pytest.fixture(scope="module")
def system() -> System:
    return load_system("SR650_V3_3xL40S_TRT")


def tunings(system: System) -> dict[tuple[str, Scenario], Tuning]:
    return {
        (name, scenario): tuning
        for name, settings in system.benchmarks.items()
        for scenario, tuning in settings.scenarios.items()
    }


def test_it_describes_what_was_published(system: System) -> None:
    assert {field: system.description[field] for field in FACTS} == FACTS
    assert set(system.description) == KNOWN - set(NETWORK), "a field is missing"
    rest = {value for field, value in system.description.items() if field not in FACTS}
    assert rest == {"", "N/A", "closed", "Lenovo", "datacenter"}
    assert (system.submitter, system.division, system.category, system.round) == (
        "Lenovo",
        "closed",
        "datacenter",
        "v4.1",
    )
    assert (system.accelerator.name, system.accelerator.count) == ("NVIDIA L40S", 3)
    assert not system.is_rehearsal


def test_it_aims_at_what_was_published(system: System) -> None:
    assert {place: tuning.target_qps for place, tuning in tunings(system).items()} == RATES
    assert {name: one.performance_sample_count for name, one in system.benchmarks.items()} == SAMPLE_COUNTS
    assert {name: one.precision for name, one in system.benchmarks.items()} == WEIGHTS
    for name, rate in AUDIT_RATES.items():
        server = system.benchmarks[name].server
        assert server
        assert server.target_qps
        assert server.target_qps * server.audit_qps_factor == pytest.approx(rate)


def test_it_names_a_folder_for_everything_behind_a_licence(system: System) -> None:
    licensed = {get_benchmark(name).facts.full.licensed for name in benchmark_names()}
    assert set(system.licensed_data) == {one.key for one in licensed if one}
