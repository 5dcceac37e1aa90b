"""Rounds v4.0 and v4.1 (2024)."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mlperf_submission.rounds.parts import (
    BERTS,
    DLRMS,
    GPTJS,
    LLAMAS,
    MS,
    NONE,
    RESNET,
    RESULT_FIELDS,
    RETINANET,
    SDXL,
    SERVER,
    SINGLE,
    SINGLE_SERVER,
    TOKENS,
    UNETS,
    audits,
    floors,
    images,
    mixtral,
    samples,
    table,
)
from mlperf_submission.rounds.types import Checker, ModelRules, Round, Scenario, Seeds

ALIASES = MappingProxyType({"ssd-resnet34": "retinanet", "mobilenet": "resnet", "resnet50": "resnet"})
GUESSES = (
    ("mobilenet", "resnet"),
    ("efficientnet", "resnet"),
    ("resnet50", "resnet"),
    ("bert-99.9", "bert-99.9"),
    ("bert-99", "bert-99"),
)

_BERT_99, _BERT_99_9 = (
    replace(one, datacenter=SERVER, server_target_latency_ns=130 * MS, audits=audits(1, 5)) for one in BERTS
)
_COMMON = (
    replace(RESNET, audits=audits(1, 4, 5)),
    replace(RETINANET, audits=audits(1, 5)),
    _BERT_99,
    replace(_BERT_99_9, edge=NONE),
    *(replace(one, audits=audits(1, 5)) for one in (*DLRMS, *UNETS)),
)

V4_1 = Round(
    name="v4.1",
    seeds=Seeds(3066443479025735752, 10688027786191513374, 14962580496156340209),
    test05_seeds=Seeds(16799458546791641818, 5453809927556429288, 5435552105434836064),
    min_duration_ms=600_000,
    aliases=ALIASES,
    guesses=GUESSES,
    result_fields=RESULT_FIELDS,
    checker=Checker.V4,
    conf_files=("mlperf.conf", "user.conf", "README.md"),
    equal_issue_enforced=frozenset({"3d-unet-99", "llama2-70b-99.9", "mixtral-8x7b"}),
    models=table(
        *_COMMON,
        *GPTJS,
        *LLAMAS,
        replace(SDXL, proof_files=images(4655, 2569, 1303, 109, 4509, 3009, 2179, 1826, 2094, 3340)),
        replace(mixtral(145.9, (45.4911, 23.2829, 30.3615), 73.78, 60.12), both=SINGLE_SERVER),
    ),
)

_V4_0_LLAMA = MappingProxyType(
    {Scenario.OFFLINE: TOKENS[Scenario.OFFLINE], Scenario.SERVER: "result_completed_samples_per_sec"}
)
_V4_0_MODELS = (
    *_COMMON,
    ModelRules(
        name="rnnt",
        **samples(2513),
        accuracy=floors(0.99, WER=100 - 7.452),
        server_target_latency_ns=1000 * MS,
        datacenter=SERVER,
        edge=SINGLE,
        audits=audits(1, 5),
    ),
    *(replace(one, result_fields=MappingProxyType({})) for one in GPTJS),
    *(replace(one, result_fields=_V4_0_LLAMA) for one in LLAMAS),
    replace(SDXL, proof_files=images(4459, 4015, 2705, 1682, 4048, 4683, 3757, 1578, 3319, 95), audits=()),
)

V4_0 = replace(
    V4_1,
    name="v4.0",
    seeds=Seeds(13281865557512327830, 198141574272810017, 7575108116881280410),
    test05_seeds=Seeds(2376919268182438552, 11176391829184272374, 3911940905271271337),
    result_fields=MappingProxyType({**RESULT_FIELDS, Scenario.SERVER: "result_scheduled_samples_per_sec"}),
    equal_issue_enforced=frozenset(),
    models=table(*(replace(model, equal_issue=False) for model in _V4_0_MODELS)),
)
