"""Rounds v6.0 and v6.1 (2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from mlperf_submission.rounds.parts import (
    NONE,
    OFFLINE,
    ONLINE,
    RESNET,
    RESULT_FIELDS,
    RETINANET,
    SERVER,
    SINGLE,
    SINGLE_ONLY,
    STREAMS,
    TOKENS,
    TOKENS_PER_S,
    S,
    at_most,
    audits,
    bert,
    floors,
    images,
    limits,
    sdxl,
    table,
)
from mlperf_submission.rounds.power import POWER_V5_1
from mlperf_submission.rounds.types import Checker, ModelRules, Round, Scenario, Seeds
from mlperf_submission.rounds.v5 import (
    ALIASES_V5_1,
    DEEPSEEK,
    ENFORCED,
    GUESSES_V5,
    LLAMA2_V5_1,
    LLAMA3_8B,
    LLAMA3_8B_EDGE,
    LLAMA3_405B_V5_1,
    MIXTRAL,
    POINTPAINTING,
    RGAT,
    UNETS,
    WHISPER,
)

_UNENFORCED = frozenset(
    {
        *(f"S-{number:02d}" for number in (3, 4, *range(6, 12))),
        *("P-01", "A-07", "C-02", "E-09", "E-10", "E-12", "G-07", "T-10"),
    }
)
"""Rules of v4.1 that the module dropped (V-02, V-11). What it still refuses of them are rules of their own.

P-02 and P-03 it no longer reaches (V-03, V-04); a run must be VALID and without errors by the rules, so they
stay errors.
"""
_ENFORCED = ENFORCED | {"V-01", "V-43", "W-02", "+no-results-folder"}
_COVERS: Mapping[str, str] = MappingProxyType({"M-04": "model", "M-05": "model", "V-32": "model"})
"""The module refuses all results of a model that lacks a scenario or has an unknown one."""
_RESNET = replace(RESNET, datacenter=NONE)
_BERTS = (bert("99"), bert("99.9"))
_DEEPSEEK = replace(DEEPSEEK, datacenter=OFFLINE, both=OFFLINE, choice=ONLINE)
_GPT_OSS = ModelRules(
    name="gpt-oss-120b",
    performance_sample_count=6396,
    offline_min_samples=6396,
    server_target_latency_ns=60 * S,
    dataset_size=6396,
    accuracy=(*floors(0.99, exact_match=83.13), at_most("TOKENS_PER_SAMPLE", 9999 * 1.1)),
    accuracy_samples=MappingProxyType({None: 4395}),
    datacenter=OFFLINE,
    both=OFFLINE,
    choice=ONLINE,
    result_fields=TOKENS,
    units=TOKENS_PER_S,
    token_latencies=True,
    token_limits=limits((3000, 80), (2000, 15)),
    audits=audits(7, 9),
    equal_issue=True,
)
_QWEN3_VL = ModelRules(
    name="qwen3-vl-235b-a22b",
    performance_sample_count=48289,
    offline_min_samples=48289,
    server_target_latency_ns=12 * S,
    dataset_size=48289,
    accuracy=floors(0.99, F1_HIERARCHICAL=0.7903),
    datacenter=SERVER,
    both=OFFLINE,
    equal_issue=True,
)
_DLRM_V3 = ModelRules(
    name="dlrm-v3",
    performance_sample_count=349_823,
    offline_min_samples=349_823,
    server_target_latency_ns=60 * S,
    dataset_size=349_823,
    accuracy=floors(0.999, DLRM_NE=0.86687, DLRM_ACC=0.69651, DLRM_AUC=0.78663),
    datacenter=SERVER,
    both=SERVER,
    audits=audits(8),
)
_YOLO_95 = ModelRules(
    name="yolo-95",
    performance_sample_count=64,
    offline_min_samples=1525,
    server_target_latency_ns=None,
    dataset_size=1525,
    accuracy=floors(0.95, mAP=53.4),
    edge=STREAMS,
    both=STREAMS,
    audits=audits(1),
)
_YOLO_99 = replace(_YOLO_95, name="yolo-99", accuracy=floors(0.99, mAP=53.4))
_WAN_VIDEOS = ("130", "106", "84", "59", "12", "31", "86", "122", "233", "96")
_WAN = ModelRules(
    name="wan-2.2-t2v-a14b",
    performance_sample_count=50,
    offline_min_samples=50,
    server_target_latency_ns=None,
    dataset_size=248,
    accuracy=floors(0.99, vbench_score=70.48),
    accuracy_samples=MappingProxyType({None: 248}),
    datacenter=SINGLE,
    audits=audits(4),
    proof_files=("videos", _WAN_VIDEOS),
    latency_in_seconds=True,
    units=MappingProxyType({Scenario.SINGLE_STREAM: "Latency (s)"}),
)

V6_0 = Round(
    name="v6.0",
    seeds=Seeds(2465351861681999779, 14276810075590677512, 3936089224930324775),
    test05_seeds=None,
    min_duration_ms=600_000,
    aliases=ALIASES_V5_1,
    guesses=GUESSES_V5,
    result_fields=RESULT_FIELDS,
    runs_beside_results=True,
    source_folder="src",
    checker=Checker.MODULE,
    unenforced=_UNENFORCED,
    enforced=_ENFORCED,
    covers=_COVERS,
    power=POWER_V5_1,
    models=table(
        (
            _RESNET,
            replace(RETINANET, datacenter=NONE, edge=NONE),
            *_BERTS,
            *UNETS,
            LLAMA3_8B,
            LLAMA3_8B_EDGE,
            *LLAMA2_V5_1,
            sdxl(
                datacenter=NONE,
                proof_files=images(1311, 2476, 3644, 2188, 4114, 52, 388, 1195, 3427, 2289),
            ),
            MIXTRAL,
            LLAMA3_405B_V5_1,
            RGAT,
            POINTPAINTING,
            _DEEPSEEK,
            WHISPER,
            _GPT_OSS,
            _WAN,
            replace(_QWEN3_VL, choice_both=ONLINE),
            _DLRM_V3,
            _YOLO_95,
            _YOLO_99,
        )
    ),
)

_RAG = ModelRules(
    name="e2e-rag-qna",
    performance_sample_count=824,
    offline_min_samples=824,
    server_target_latency_ns=None,
    dataset_size=824,
    accuracy=floors(1.0, E2E_ACCURACY=33.95),
    datacenter=OFFLINE,
    audits=audits(9),
    has_min_duration=False,
    units=MappingProxyType({Scenario.OFFLINE: "Tasks/s"}),
)

V6_1 = Round(
    name="v6.1",
    seeds=Seeds(2085463073848966840, 2747215439041700203, 16159082839903944936),
    test05_seeds=None,
    min_duration_ms=600_000,
    aliases=ALIASES_V5_1,
    guesses=GUESSES_V5,
    result_fields=MappingProxyType(
        {**RESULT_FIELDS, Scenario.INTERACTIVE: "result_completed_samples_per_sec"}
    ),
    runs_beside_results=True,
    source_folder="src",
    checker=Checker.MODULE,
    unenforced=_UNENFORCED,
    enforced=_ENFORCED,
    covers=_COVERS,
    power=POWER_V5_1,
    models=table(
        (
            _RESNET,
            *_BERTS,
            *UNETS,
            LLAMA3_8B,
            LLAMA3_8B_EDGE,
            LLAMA2_V5_1[1],
            sdxl(datacenter=NONE),
            RGAT,
            _DEEPSEEK,
            WHISPER,
            _GPT_OSS,
            replace(
                _WAN,
                proof_files=("videos", ("130", "106", "84", "59", "12", "123", "43", "22", "238", "32")),
            ),
            replace(
                _QWEN3_VL,
                datacenter=OFFLINE,
                choice=ONLINE,
                interactive_latency_ns=1_500_000_000,
                accuracy_by_scenario=MappingProxyType(
                    {Scenario.INTERACTIVE: floors(0.99, F1_HIERARCHICAL=0.7878)}
                ),
                accuracy_samples=MappingProxyType({None: 48289, Scenario.INTERACTIVE: 8000}),
            ),
            ModelRules(
                name="qwen3.6-27b",
                performance_sample_count=995,
                offline_min_samples=None,
                server_target_latency_ns=None,
                dataset_size=995,
                accuracy=floors(0.99, mAP=86.23),
                edge=SINGLE_ONLY,
                both=SINGLE_ONLY,
            ),
            _DLRM_V3,
            _YOLO_95,
            _YOLO_99,
            _RAG,
            replace(
                _RAG,
                name="e2e-rag-db",
                units=MappingProxyType({}),
                performance_sample_count=2515,
                offline_min_samples=2515,
                dataset_size=2515,
                accuracy=floors(1.0, E2E_ACCURACY=98),
                audits=(),
            ),
        )
    ),
)
