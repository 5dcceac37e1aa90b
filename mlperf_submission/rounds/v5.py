"""Rounds v5.0 and v5.1 (2025)."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mlperf_submission.rounds.parts import (
    ALL_FOUR,
    BERTS,
    DLRMS,
    EDGE_TOKENS,
    GPTJS,
    LLAMAS,
    NONE,
    OFFLINE,
    OFFLINE_TOKENS,
    OFFLINE_TOKENS_PER_S,
    ONLINE,
    RESNET,
    RESULT_FIELDS,
    RETINANET,
    SDXL,
    SERVER,
    SINGLE,
    SINGLE_ONLY,
    SINGLE_SERVER,
    TOKENS,
    TOKENS_PER_S,
    UNETS,
    S,
    audits,
    floors,
    images,
    limits,
    mixtral,
    samples,
    table,
)
from mlperf_submission.rounds.power import POWER_V5_0, POWER_V5_1
from mlperf_submission.rounds.types import AccuracyTarget, Checker, ModelRules, Round, Seeds
from mlperf_submission.rounds.v4 import ALIASES, GUESSES

ENFORCED = frozenset(
    {
        *("+early-stopping", "+accuracy-samples", "+scenario-differs", "+inferred-datacenter"),
        *("V-11", "V-13", "V-32"),
    }
)
"""Rules that the module enforces and v4.1's checker does not (V-05, V-06, V-07, V-11, V-13, V-32).

The checkers that were in force in v5.0 and v5.1 pass most of these over; the rules forbid what they refuse.
"""
_EQUAL_ISSUE = frozenset(
    {
        *("3d-unet-99", "3d-unet-99.9", "llama2-70b-99", "llama2-70b-99.9"),
        *("mixtral-8x7b", "llama3.1-405b", "rgat"),
    }
)

MIXTRAL = replace(mixtral(144.84, (45.5989, 23.3526, 30.4608), 73.66, 60.16), server_target_latency_ns=20 * S)
LLAMA3_405B = ModelRules(
    name="llama3.1-405b",
    **samples(8313),
    server_target_latency_ns=60 * S,
    accuracy=(
        *floors(0.99, ROUGEL=21.6666, exact_match=90.1335),
        AccuracyTarget("TOKENS_PER_SAMPLE", 684.68 * 0.9, 684.68 * 1.1),
    ),
    datacenter=SERVER,
    result_fields=TOKENS,
    units=TOKENS_PER_S,
    token_latencies=True,
    token_limits=limits((6000, 175), (4500, 80)),
    equal_issue=True,
)
RGAT = ModelRules(
    name="rgat",
    **samples(788_379),
    accuracy=floors(0.99, acc=0.7286),
    datacenter=OFFLINE,
    audits=audits(1),
    equal_issue=True,
)
POINTPAINTING = ModelRules(
    name="pointpainting",
    performance_sample_count=1024,
    offline_min_samples=6636,
    dataset_size=39_987,
    accuracy=floors(0.999, mAP=0.5425),
    edge=SINGLE_ONLY,
    audits=audits(1, 4),
)

_INTERACTIVE = tuple(
    replace(one, name=one.name.replace("70b-", "70b-interactive-"), token_limits=limits((450, 40)))
    for one in LLAMAS
)

V5_0 = Round(
    name="v5.0",
    seeds=Seeds(6023615788873153749, 15036839855038426416, 9933818062894767841),
    test05_seeds=None,
    min_duration_ms=600_000,
    aliases=MappingProxyType({**ALIASES, "llama3_1-405b": "llama3.1-405b"}),
    guesses=(*GUESSES, ("llama3_1-405b", "llama3.1-405b")),
    result_fields=RESULT_FIELDS,
    checker=Checker.V5,
    enforced=ENFORCED,
    equal_issue_enforced=_EQUAL_ISSUE | {one.name for one in (*GPTJS, *_INTERACTIVE)},
    power=POWER_V5_0,
    models=table(
        RESNET,
        RETINANET,
        *BERTS,
        *DLRMS,
        *UNETS,
        *(replace(one, audits=audits(6)) for one in GPTJS),
        *LLAMAS,
        *_INTERACTIVE,
        replace(SDXL, proof_files=images(4459, 4015, 2705, 1682, 4048, 4683, 3757, 1578, 3319, 95)),
        MIXTRAL,
        LLAMA3_405B,
        RGAT,
        POINTPAINTING,
    ),
)

RESNET_V5_1 = replace(RESNET, datacenter=NONE, both=ALL_FOUR)
LLAMA3_8B = ModelRules(
    name="llama3.1-8b",
    **samples(13368),
    server_target_latency_ns=20 * S,
    accuracy=(
        *floors(0.99, ROUGE1=38.7792, ROUGE2=15.9075, ROUGEL=24.4957, ROUGELSUM=35.793),
        AccuracyTarget("GEN_LEN", 8167644 * 0.9, 8167644 * 1.1),
    ),
    datacenter=OFFLINE,
    choice=ONLINE,
    result_fields=TOKENS,
    units=TOKENS_PER_S,
    token_latencies=True,
    token_limits=limits((2000, 100), (500, 30)),
    audits=audits(6),
    equal_issue=True,
)
LLAMA3_8B_EDGE = ModelRules(
    name="llama3.1-8b-edge",
    **samples(5000),
    accuracy=(
        *floors(0.99, ROUGE1=39.06, ROUGE2=16.1147, ROUGEL=24.6375, ROUGELSUM=36.124),
        AccuracyTarget("GEN_LEN", 3051113 * 0.9, 3051113 * 1.1),
    ),
    edge=SINGLE,
    result_fields=EDGE_TOKENS,
    units=OFFLINE_TOKENS_PER_S,
    token_latencies=True,
    equal_issue=True,
)
DEEPSEEK = ModelRules(
    name="deepseek-r1",
    **samples(4388),
    server_target_latency_ns=60 * S,
    accuracy=(
        *floors(0.99, exact_match=81.3582),
        AccuracyTarget("TOKENS_PER_SAMPLE", 3886.2274 * 0.9, 3886.2274 * 1.1),
    ),
    datacenter=SERVER,
    both=SINGLE_SERVER,
    result_fields=TOKENS,
    units=TOKENS_PER_S,
    token_latencies=True,
    token_limits=limits((2000, 80), (1500, 15)),
    audits=audits(6),
    equal_issue=True,
)
WHISPER = ModelRules(
    name="whisper",
    **samples(1633),
    accuracy=floors(0.99, ACCURACY=97.9329),
    datacenter=OFFLINE,
    edge=OFFLINE,
    result_fields=OFFLINE_TOKENS,
    audits=audits(1),
    equal_issue=True,
)
LLAMAS_V5_1 = tuple(
    replace(one, datacenter=OFFLINE, choice=ONLINE, token_limits=limits((2000, 200), (450, 40)))
    for one in LLAMAS
)
LLAMA3_405B_V5_1 = replace(LLAMA3_405B, datacenter=OFFLINE, choice=ONLINE, audits=audits(6))

V5_1 = replace(
    V5_0,
    name="v5.1",
    seeds=Seeds(1780908523862526354, 14771362308971278857, 18209322760996052031),
    aliases=MappingProxyType(
        {**V5_0.aliases, "llama3_1-8b": "llama3.1-8b", "llama3_1-8b-edge": "llama3.1-8b-edge"}
    ),
    enforced=ENFORCED | {"+unused-system", "V-18"},
    equal_issue_enforced=_EQUAL_ISSUE | {"llama3.1-8b", "llama3.1-8b-edge", "deepseek-r1", "whisper"},
    equal_issue_in_open=True,
    power=POWER_V5_1,
    models=table(
        RESNET_V5_1,
        RETINANET,
        *BERTS,
        *DLRMS,
        *UNETS,
        LLAMA3_8B,
        LLAMA3_8B_EDGE,
        *LLAMAS_V5_1,
        replace(SDXL, proof_files=images(2747, 2235, 2165, 1515, 1538, 1367, 2419, 4629, 3657, 4532)),
        MIXTRAL,
        LLAMA3_405B_V5_1,
        RGAT,
        POINTPAINTING,
        DEEPSEEK,
        WHISPER,
    ),
)
