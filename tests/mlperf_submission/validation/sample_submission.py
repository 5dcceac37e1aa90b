"""A small complete submission that the official checker and ours accept, made from nothing.

closed/Acme: box (datacenter: resnet50, llama2-70b-99.9, stable-diffusion-xl, gptj-99), tin (edge: resnet50);
network/Acme: far (datacenter: resnet50); open/Acme: lab (datacenter: my_net, mapped to resnet).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from mlperf_submission.rounds import V4_1, ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission.description import NETWORK, REQUIRED

BOX = "closed/Acme/results/box/resnet50/Offline"
BOX_SERVER = "closed/Acme/results/box/resnet50/Server"
LLAMA = "closed/Acme/results/box/llama2-70b-99.9/Offline"
LLAMA_SERVER = "closed/Acme/results/box/llama2-70b-99.9/Server"
SDXL = "closed/Acme/results/box/stable-diffusion-xl/Offline"
GPTJ = "closed/Acme/results/box/gptj-99/Offline"
TIN = "closed/Acme/results/tin/resnet50"
FAR = "network/Acme/results/far/resnet50/Offline"
LAB = "open/Acme/results/lab/my_net/Offline"
ACCURACY = {
    "resnet": ["accuracy=76.100%, good=38050, total=50000"],
    "llama2-70b-99.9": [
        "{'rouge1': 44.5, 'rouge2': 22.1, 'rougeL': 28.7, 'rougeLsum': 42.0, 'gen_len': 1, "
        "'gen_num': 24576, 'gen_tok_len': 1, 'tokens_per_sample': 294.5}"
    ],
    "stable-diffusion-xl": ["Accuracy Results: {'FID_SCORE': 23.5, 'CLIP_SCORE': 31.7}"],
    "gptj-99": ["{'rouge1': 43.0, 'rouge2': 20.2, 'rougeL': 30.0, 'gen_len': 4016000}"],
    "llama3.1-8b": [
        "{'rouge1': 38.8, 'rouge2': 16.0, 'rougeL': 24.5, 'rougeLsum': 35.8, 'gen_len': 8167000, "
        "'gen_num': 13368}"
    ],
    "gpt-oss-120b": ["{'exact_match': 83.2, 'tokens_per_sample': 1000.0}"],
    "dlrm-v3": [
        f"metric/lifetime_{name}/rating: {value}"
        for name, value in (("ne", 0.867), ("accuracy", 0.697), ("gauc", 0.787))
    ],
    "yolo-95": ["mAP=53.5"],
}


def detail_line(key: str, value: object, *, error: bool = False) -> str:
    flags = {"is_error": error, "is_warning": False, "file": "x.cc", "line_no": 1, "pid": 1, "tid": 1}
    message = {"key": key, "value": value, "time_ms": 1.5, "namespace": "mlperf::logging"}
    return ":::MLLOG " + json.dumps({**message, "event_type": "POINT_IN_TIME", "metadata": flags})


@dataclass
class Submission:
    """A tree on disk with the edits that a mutation needs, which can be chained. Paths are below the root."""

    root: Path
    minutes: int = 0
    round: Round = V4_1

    def write(self, path: str, text: str | bytes) -> Self:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def delete(self, path: str) -> Self:
        full = self.root / path
        if full.is_dir():
            shutil.rmtree(full)
        else:
            full.unlink()
        return self

    def move(self, path: str, target: str) -> Self:
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).rename(self.root / target)
        return self

    def copy(self, path: str, target: str) -> Self:
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        if (self.root / path).is_dir():
            shutil.copytree(self.root / path, self.root / target, dirs_exist_ok=True)
        else:
            shutil.copyfile(self.root / path, self.root / target)
        return self

    def json(self, path: str, **changes: object) -> Self:
        """Change fields of a JSON file; None takes a field out, `null` is written by NULL."""
        content = json.loads(self.read(path))
        for key, value in changes.items():
            if value is None:
                del content[key]
            else:
                content[key] = None if value is NULL else value
        return self.write(path, json.dumps(content))

    def log(self, run: str, **changes: object) -> Self:
        """Change values in a run's detail log; None takes the key out."""
        path = f"{run}/mlperf_log_detail.txt"
        lines = []
        rest = {key.replace("__", "."): value for key, value in changes.items()}
        for line in self.read(path).splitlines():
            key = json.loads(line[8:])["key"]
            if key in rest:
                value = rest.pop(key)
                lines += [] if value is None else [detail_line(key, value)]
            else:
                lines.append(line)
        lines += [detail_line(key, value) for key, value in rest.items() if value is not None]
        return self.write(path, "\n".join(lines) + "\n")

    def append(self, path: str, text: str | bytes) -> Self:
        with (self.root / path).open("ab") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        return self


NULL = object()


def detail_values(
    round_: Round, model: ModelRules, scenario: Scenario, kind: RunKind, begin: datetime, sut: str
) -> dict[str, Any]:
    audit = kind.is_audit
    seeds = round_.test05_seeds if kind is RunKind.TEST05 and round_.test05_seeds else round_.seeds
    accuracy = kind is RunKind.ACCURACY
    logged = Scenario.SERVER if scenario is Scenario.INTERACTIVE else scenario
    end = begin + timedelta(seconds=601)
    limit = model.server_target_latency_ns or 0
    offline = scenario is Scenario.OFFLINE
    return {
        "loadgen_version": f"{round_.name.removeprefix('v')} @ 2ed9555be0",
        "loadgen_git_status_message": "",
        "test_datetime": begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sut_name": sut,
        "qsl_reported_total_count": model.accuracy_sample_count(scenario) if accuracy else model.dataset_size,
        "requested_use_token_latencies": model.token_latencies,
        "effective_scenario": str(logged),
        "effective_test_mode": "AccuracyOnly" if accuracy else "PerformanceOnly",
        "effective_samples_per_query": max(660000, model.offline_min_samples or 0)
        if offline
        else 8
        if scenario is Scenario.MULTI_STREAM
        else 1,
        "effective_target_qps": 1000,
        "effective_target_latency_ns": limit,
        "effective_target_latency_percentile": 0.99 if logged is Scenario.SERVER else 0.9,
        "effective_min_duration_ms": 600000,
        "effective_min_query_count": 1 if offline else 100,
        "effective_qsl_rng_seed": seeds.qsl,
        "effective_sample_index_rng_seed": seeds.sample_index,
        "effective_schedule_rng_seed": seeds.schedule,
        "effective_accuracy_log_probability": 0,
        "effective_accuracy_log_sampling_target": 1024 if kind is RunKind.TEST01 else 0,
        "effective_performance_issue_same": kind is RunKind.TEST04,
        "effective_performance_issue_unique": False,
        "effective_performance_sample_count": model.performance_sample_count,
        "effective_sample_concatenate_permutation": model.equal_issue,
        "power_begin": begin.strftime("%m-%d-%Y %H:%M:%S.000"),
        "power_end": end.strftime("%m-%d-%Y %H:%M:%S.000"),
        "result_validity": "VALID",
        "early_stopping_met": True,
        "result_query_count": 1000,
        "result_samples_per_second": 1234.5 + audit,
        "result_completed_samples_per_sec": 999.5 + audit,
        "result_tokens_per_second": 4321.5,
        "result_completed_tokens_per_second": 3333.5,
        "result_inferred_tokens_per_second": 2222.5,
        "result_inferred_completed_tokens_per_second": 1111.5,
        "result_mean_latency_ns": 1000000,
        "result_99.00_percentile_latency_ns": limit // 2 or 5000000,
        "result_first_token_99.00_percentile_latency_ns": 1000000000 if round_ is V4_1 else 400000000,
        "result_time_per_output_token_99.00_percentile_ns": 100000000 if round_ is V4_1 else 10000000,
        "early_stopping_latency_ss": 1500000,
        "early_stopping_latency_ms": 9000000,
        "result_qps_without_loadgen_overhead": 700.5,
        "result_mean_query_latency_ns": 8000000,
    }


def build(root: Path, parts: str = "box") -> Submission:
    """Write a submission; `parts` names its systems: box, models (box's other models), tin, far, lab."""
    made = Submission(root)
    root.mkdir(parents=True, exist_ok=True)
    both = (Scenario.OFFLINE, Scenario.SERVER)
    if "box" in parts:
        write_system(made, "closed", "box", "datacenter")
        write_model(made, "closed", "box", "resnet50", both)
    if "models" in parts:
        write_system(made, "closed", "box", "datacenter")
        write_model(made, "closed", "box", "llama2-70b-99.9", both)
        write_model(made, "closed", "box", "stable-diffusion-xl", both)
        write_model(made, "closed", "box", "gptj-99", both)
    if "tin" in parts:
        write_system(made, "closed", "tin", "edge")
        streams = (Scenario.OFFLINE, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
        write_model(made, "closed", "tin", "resnet50", streams)
    if "far" in parts:
        write_system(made, "network", "far", "datacenter")
        write_model(made, "network", "far", "resnet50", both, sut="Network SUT")
    if "lab" in parts:
        write_system(made, "open", "lab", "datacenter")
        made.write("open/Acme/model_mapping.json", json.dumps({"my_net": "resnet"}))
        write_model(made, "open", "lab", "my_net", both)
    for division in {path.name for path in root.iterdir() if path.is_dir()}:
        made.write(f"{division}/Acme/calibration.md", "how")
    return made


def write_system(made: Submission, division: str, system: str, kind: str) -> None:
    fields = dict.fromkeys(REQUIRED, "some")
    fields |= {"division": division, "submitter": "Acme", "status": "available", "system_type": kind}
    fields |= {"number_of_nodes": "1", "host_processors_per_node": "2", "accelerators_per_node": "0"}
    if division == "network":
        fields |= dict.fromkeys(NETWORK, "") | {"is_network": "true"}
    made.write(f"{division}/Acme/systems/{system}.json", json.dumps(fields))


def write_model(
    made: Submission,
    division: str,
    system: str,
    directory: str,
    scenarios: tuple[Scenario, ...],
    sut: str = "SUT",
) -> None:
    model = made.round.models[made.round.resolve(directory, {"my_net": "resnet"})]
    made.write(f"{division}/Acme/{made.round.source_folder}/{directory}/README.md", "code")
    for scenario in scenarios:
        place = f"Acme/{{}}/{system}/{directory}/{scenario}"
        results = f"{division}/{place.format('results')}"
        beside = made.round.runs_beside_results
        measurements = results if beside else f"{division}/{place.format('measurements')}"
        _measurements(
            made, measurements, "measurements.json" if beside else f"{system}_{scenario}.json", scenario
        )
        accuracy = "\n".join([*ACCURACY[model.name], f"hash={'ab' * 32}"]) + "\n"
        made.write(f"{results}/accuracy/accuracy.txt", accuracy)
        made.write(f"{results}/accuracy/mlperf_log_accuracy.json", "[\n...\n]")
        _run(made, f"{results}/performance/run_1", model, scenario, RunKind.PERFORMANCE, sut)
        _run(made, f"{results}/accuracy", model, scenario, RunKind.ACCURACY, sut)
        if model.proof_files:
            for stem in model.proof_files[1]:
                made.write(f"{results}/accuracy/{model.proof_files[0]}/{stem}.png", "png")
        if division != "open":
            for test in model.audits:
                base = results if beside else f"{division}/{place.format('compliance')}"
                _audit(made, f"{base}/{test}", model, scenario, test, sut)


def _measurements(made: Submission, folder: str, name: str, scenario: Scenario) -> None:
    made.write(f"{folder}/mlperf.conf", "# conf\n*.*.sample_concatenate_permutation = 1\n")
    logged = Scenario.SERVER if scenario is Scenario.INTERACTIVE else scenario
    made.write(f"{folder}/user.conf", f"*.{logged}.target_qps = 1000\n")
    made.write(f"{folder}/README.md", "how to run")
    fields = (
        *("input_data_types", "retraining", "starting_weights_filename"),
        *("weight_data_types", "weight_transformations"),
    )
    made.write(f"{folder}/{name}", json.dumps(dict.fromkeys(fields, "N/A")))


def _run(
    made: Submission, folder: str, model: ModelRules, scenario: Scenario, kind: RunKind, sut: str
) -> None:
    made.minutes += 20
    begin = datetime(2024, 7, 1) + timedelta(minutes=made.minutes)
    values = detail_values(made.round, model, scenario, kind, begin, sut)
    made.write(
        f"{folder}/mlperf_log_detail.txt", "\n".join(detail_line(k, v) for k, v in values.items()) + "\n"
    )
    made.write(f"{folder}/mlperf_log_summary.txt", "Result is : VALID\n")


def _audit(
    made: Submission, folder: str, model: ModelRules, scenario: Scenario, test: RunKind, sut: str
) -> None:
    if test in (RunKind.TEST07, RunKind.TEST08, RunKind.TEST09):
        name = "verify_output_len.txt" if test is RunKind.TEST09 else "verify_accuracy.txt"
        made.write(f"{folder}/{name}", "TEST PASS\n")
        return
    if test is RunKind.TEST06:
        passed = "First token check pass: True\nEOS check pass: True\nSample length check pass: True\n"
        made.write(f"{folder}/verify_accuracy.txt", passed)
        return
    _run(made, f"{folder}/performance/run_1", model, scenario, test, sut)
    made.write(f"{folder}/verify_performance.txt", "TEST PASS\n")
    if test is RunKind.TEST01:
        made.write(f"{folder}/verify_accuracy.txt", "TEST PASS\n")
        made.write(f"{folder}/accuracy/accuracy.txt", f"{ACCURACY[model.name][0]}\n")
        made.write(f"{folder}/accuracy/mlperf_log_accuracy.json", "[]")


Mutation = Callable[[Submission], object]
