"""Rounds v6.0 and v6.1 (2026)."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from mlperf_submission.rounds.parts import (
    ALL_FOUR,
    BERTS,
    NONE,
    OFFLINE,
    ONLINE,
    RESULT_FIELDS,
    RETINANET,
    SDXL,
    SERVER,
    SINGLE,
    SINGLE_ONLY,
    SINGLE_SERVER,
    STREAMS,
    TOKENS,
    TOKENS_PER_S,
    UNETS,
    S,
    audits,
    floors,
    images,
    limits,
    samples,
    table,
)
from mlperf_submission.rounds.types import AccuracyTarget, Checker, ModelRules, Scenario, Seeds
from mlperf_submission.rounds.v5 import (
    DEEPSEEK,
    ENFORCED,
    LLAMA3_8B,
    LLAMA3_8B_EDGE,
    LLAMA3_405B_V5_1,
    LLAMAS_V5_1,
    MIXTRAL,
    POINTPAINTING,
    RESNET_V5_1,
    RGAT,
    V5_1,
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
_SDXL = replace(SDXL, datacenter=NONE, both=SINGLE_SERVER)
_DEEPSEEK = replace(DEEPSEEK, datacenter=OFFLINE, both=OFFLINE, choice=ONLINE)
_GPT_OSS = ModelRules(
    name="gpt-oss-120b",
    **samples(6396),
    server_target_latency_ns=60 * S,
    accuracy=(*floors(0.99, exact_match=83.13), AccuracyTarget("TOKENS_PER_SAMPLE", -math.inf, 9999 * 1.1)),
    accuracy_samples=MappingProxyType({None: 4395}),
    datacenter=OFFLINE,
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
    **samples(48289),
    server_target_latency_ns=12 * S,
    accuracy=floors(0.99, F1_HIERARCHICAL=0.7903),
    datacenter=SERVER,
    both=OFFLINE,
    equal_issue=True,
)
_DLRM_V3 = ModelRules(
    name="dlrm-v3",
    **samples(349_823),
    server_target_latency_ns=60 * S,
    accuracy=floors(0.999, DLRM_NE=0.86687, DLRM_ACC=0.69651, DLRM_AUC=0.78663),
    datacenter=SERVER,
    audits=audits(8),
)
_YOLO_95 = ModelRules(
    name="yolo-95",
    performance_sample_count=64,
    offline_min_samples=1525,
    dataset_size=1525,
    accuracy=floors(0.95, mAP=53.4),
    edge=STREAMS,
    audits=audits(1),
)
_YOLO_99 = replace(_YOLO_95, name="yolo-99", accuracy=floors(0.99, mAP=53.4))
_WAN_VIDEOS = ("130", "106", "84", "59", "12", "31", "86", "122", "233", "96")
_WAN = ModelRules(
    name="wan-2.2-t2v-a14b",
    performance_sample_count=50,
    offline_min_samples=50,
    dataset_size=248,
    accuracy=floors(0.99, vbench_score=70.48),
    accuracy_samples=MappingProxyType({None: 248}),
    datacenter=SINGLE,
    both=NONE,
    audits=audits(4),
    proof_files=("videos", _WAN_VIDEOS),
    latency_in_seconds=True,
    units=MappingProxyType({Scenario.SINGLE_STREAM: "Latency (s)"}),
)

V6_0 = replace(
    V5_1,
    name="v6.0",
    seeds=Seeds(2465351861681999779, 14276810075590677512, 3936089224930324775),
    runs_beside_results=True,
    source_folder="src",
    checker=Checker.MODULE,
    unenforced=_UNENFORCED,
    enforced=ENFORCED | {"V-01", "V-43", "W-02", "+no-results-folder"},
    # The module refuses all results of a model that lacks a scenario or has an unknown one.
    covers=MappingProxyType({"M-04": "model", "M-05": "model", "V-32": "model"}),
    equal_issue_enforced=frozenset(),
    equal_issue_in_open=False,
    models=table(
        RESNET_V5_1,
        replace(RETINANET, datacenter=NONE, edge=NONE, both=ALL_FOUR),
        *BERTS,
        *UNETS,
        LLAMA3_8B,
        LLAMA3_8B_EDGE,
        *LLAMAS_V5_1,
        replace(_SDXL, proof_files=images(1311, 2476, 3644, 2188, 4114, 52, 388, 1195, 3427, 2289)),
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
    ),
)

_RAG = ModelRules(
    name="e2e-rag-qna",
    **samples(824),
    accuracy=floors(1.0, E2E_ACCURACY=33.95),
    datacenter=OFFLINE,
    both=NONE,
    audits=audits(9),
    has_min_duration=False,
    units=MappingProxyType({Scenario.OFFLINE: "Tasks/s"}),
)

_QWEN3_VL_V6_1 = replace(
    _QWEN3_VL,
    datacenter=OFFLINE,
    choice=ONLINE,
    interactive_latency_ns=1_500_000_000,
    accuracy_by_scenario=MappingProxyType({Scenario.INTERACTIVE: floors(0.99, F1_HIERARCHICAL=0.7878)}),
    accuracy_samples=MappingProxyType({None: 48289, Scenario.INTERACTIVE: 8000}),
)
_QWEN3_6 = ModelRules(
    name="qwen3.6-27b",
    performance_sample_count=995,
    offline_min_samples=None,
    dataset_size=995,
    accuracy=floors(0.99, mAP=86.23),
    edge=SINGLE_ONLY,
)
_RAG_DB = replace(
    _RAG,
    name="e2e-rag-db",
    **samples(2515),
    accuracy=floors(1.0, E2E_ACCURACY=98),
    audits=(),
    units=MappingProxyType({}),
)

V6_1 = replace(
    V6_0,
    name="v6.1",
    seeds=Seeds(2085463073848966840, 2747215439041700203, 16159082839903944936),
    result_fields=MappingProxyType(
        {**RESULT_FIELDS, Scenario.INTERACTIVE: "result_completed_samples_per_sec"}
    ),
    models=table(
        RESNET_V5_1,
        *BERTS,
        *UNETS,
        LLAMA3_8B,
        LLAMA3_8B_EDGE,
        LLAMAS_V5_1[1],
        _SDXL,
        RGAT,
        _DEEPSEEK,
        WHISPER,
        _GPT_OSS,
        replace(
            _WAN, proof_files=("videos", ("130", "106", "84", "59", "12", "123", "43", "22", "238", "32"))
        ),
        _QWEN3_VL_V6_1,
        _QWEN3_6,
        _DLRM_V3,
        _YOLO_95,
        _YOLO_99,
        _RAG,
        _RAG_DB,
    ),
)
