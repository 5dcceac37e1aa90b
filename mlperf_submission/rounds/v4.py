"""Rounds v4.0 and v4.1 (2024)."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mlperf_submission.rounds.parts import (
    ALL_FOUR,
    MS,
    NONE,
    RESNET,
    RESULT_FIELDS,
    RETINANET,
    SERVER,
    SINGLE,
    SINGLE_SERVER,
    STREAMS,
    TOKENS,
    audits,
    bert,
    dlrm,
    floors,
    gptj,
    images,
    llama2,
    mixtral,
    sdxl,
    table,
    unet,
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

_COMMON = (
    replace(RESNET, datacenter=SERVER, edge=STREAMS, both=ALL_FOUR, audits=audits(1, 4, 5)),
    replace(RETINANET, audits=audits(1, 5)),
    bert("99", datacenter=SERVER, both=SINGLE_SERVER, server_target_latency_ns=130 * MS, audits=audits(1, 5)),
    bert(
        "99.9",
        datacenter=SERVER,
        edge=NONE,
        both=SERVER,
        server_target_latency_ns=130 * MS,
        audits=audits(1, 5),
    ),
    dlrm("99", audits=audits(1, 5)),
    dlrm("99.9", audits=audits(1, 5)),
    unet("99", audits=audits(1, 5)),
    unet("99.9", audits=audits(1, 5)),
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
        (
            *_COMMON,
            gptj("99"),
            gptj("99.9"),
            llama2("99"),
            llama2("99.9"),
            sdxl(proof_files=images(4655, 2569, 1303, 109, 4509, 3009, 2179, 1826, 2094, 3340)),
            mixtral(145.9, (45.4911, 23.2829, 30.3615), 73.78, 60.12, both=SINGLE_SERVER),
        )
    ),
)

_SCHEDULED = MappingProxyType({**RESULT_FIELDS, Scenario.SERVER: "result_scheduled_samples_per_sec"})
_V4_0_LLAMA = MappingProxyType(
    {Scenario.OFFLINE: TOKENS[Scenario.OFFLINE], Scenario.SERVER: "result_completed_samples_per_sec"}
)

V4_0 = Round(
    name="v4.0",
    seeds=Seeds(13281865557512327830, 198141574272810017, 7575108116881280410),
    test05_seeds=Seeds(2376919268182438552, 11176391829184272374, 3911940905271271337),
    min_duration_ms=600_000,
    aliases=ALIASES,
    guesses=GUESSES,
    result_fields=_SCHEDULED,
    checker=Checker.V4,
    conf_files=V4_1.conf_files,
    models=table(
        (
            *(replace(model, equal_issue=False) for model in _COMMON),
            ModelRules(
                name="rnnt",
                performance_sample_count=2513,
                offline_min_samples=2513,
                server_target_latency_ns=1000 * MS,
                dataset_size=2513,
                accuracy=floors(0.99, WER=100 - 7.452),
                datacenter=SERVER,
                edge=SINGLE,
                both=SINGLE_SERVER,
                audits=audits(1, 5),
            ),
            gptj("99", result_fields=MappingProxyType({}), equal_issue=False),
            gptj("99.9", result_fields=MappingProxyType({}), equal_issue=False),
            llama2("99", result_fields=_V4_0_LLAMA, equal_issue=False),
            llama2("99.9", result_fields=_V4_0_LLAMA, equal_issue=False),
            sdxl(
                proof_files=images(4459, 4015, 2705, 1682, 4048, 4683, 3757, 1578, 3319, 95),
                audits=(),
            ),
        )
    ),
)
