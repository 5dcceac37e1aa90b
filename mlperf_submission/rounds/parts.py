"""The parts that the tables of the rounds share: scenario sets, metrics, limits, facts of each model.

Source of every number: `submission_checker.py` and `constants.py` of mlcommons/inference (tools/submission).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict

from mlperf_submission.rounds.types import AccuracyTarget, ModelRules, RunKind, Scenario, TokenLimits

MS = 1_000_000
S = 1_000_000_000

FACTOR = {"99": 0.99, "99.9": 0.999}
"""Share of the reference accuracy that a model of this name has to reach."""

OFFLINE = frozenset({Scenario.OFFLINE})
SERVER = frozenset({Scenario.OFFLINE, Scenario.SERVER})
SINGLE = frozenset({Scenario.SINGLE_STREAM, Scenario.OFFLINE})
SINGLE_ONLY = frozenset({Scenario.SINGLE_STREAM})
STREAMS = SINGLE | {Scenario.MULTI_STREAM}
SINGLE_SERVER = SINGLE | SERVER
ALL_FOUR = STREAMS | SERVER
NONE: frozenset[Scenario] = frozenset()
ONLINE = frozenset({Scenario.SERVER, Scenario.INTERACTIVE})

_TEST = {number: RunKind(f"TEST0{number}") for number in (1, 4, 5, 6, 7, 8, 9)}

TOKENS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.OFFLINE: "result_tokens_per_second",
        Scenario.SERVER: "result_completed_tokens_per_second",
    }
)
OFFLINE_TOKENS: Mapping[Scenario, str] = MappingProxyType({Scenario.OFFLINE: "result_tokens_per_second"})
INFERRED_TOKENS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.OFFLINE: "result_inferred_tokens_per_second",
        Scenario.SERVER: "result_inferred_completed_tokens_per_second",
    }
)
EDGE_TOKENS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.OFFLINE: "result_tokens_per_second",
        Scenario.SINGLE_STREAM: "result_90.00_percentile_latency_ns",
    }
)
TOKENS_PER_S: Mapping[Scenario, str] = MappingProxyType(
    dict.fromkeys((Scenario.OFFLINE, Scenario.SERVER, Scenario.INTERACTIVE), "Tokens/s")
)
OFFLINE_TOKENS_PER_S: Mapping[Scenario, str] = MappingProxyType({Scenario.OFFLINE: "Tokens/s"})
RESULT_FIELDS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.OFFLINE: "result_samples_per_second",
        Scenario.SERVER: "result_completed_samples_per_sec",
        Scenario.SINGLE_STREAM: "early_stopping_latency_ss",
        Scenario.MULTI_STREAM: "early_stopping_latency_ms",
    }
)


def audits(*numbers: int) -> tuple[RunKind, ...]:
    """Return the compliance tests with these numbers."""
    return tuple(_TEST[number] for number in numbers)


def floors(factor: float, **references: float) -> tuple[AccuracyTarget, ...]:
    """Return targets of reference values times a factor, in double arithmetic as the checker does it."""
    return tuple(AccuracyTarget(metric, value * factor) for metric, value in references.items())


def limits(
    server: tuple[int, int], interactive: tuple[int, int] | None = None
) -> Mapping[Scenario, TokenLimits]:
    """Return token limits of (TTFT, TPOT) in ms for Server and Interactive."""
    found = {Scenario.SERVER: TokenLimits(server[0] * MS, server[1] * MS)}
    if interactive:
        found[Scenario.INTERACTIVE] = TokenLimits(interactive[0] * MS, interactive[1] * MS)
    return MappingProxyType(found)


def table(*rules: ModelRules) -> Mapping[str, ModelRules]:
    """Return models by their names."""
    return MappingProxyType({one.name: one for one in rules})


class _Counts(TypedDict):
    performance_sample_count: int
    offline_min_samples: int
    dataset_size: int


def samples(count: int) -> _Counts:
    """Return the counts of a model that loads all samples of its data set, and asks for them in Offline."""
    return {"performance_sample_count": count, "offline_min_samples": count, "dataset_size": count}


def images(*stems: int) -> tuple[str, tuple[str, ...]]:
    """Return the files of SDXL that must be in accuracy/images."""
    return "images", tuple(map(str, stems))


RESNET = ModelRules(
    name="resnet",
    performance_sample_count=1024,
    offline_min_samples=24576,
    dataset_size=50_000,
    accuracy=floors(0.99, acc=76.46),
    server_target_latency_ns=15 * MS,
    datacenter=SERVER,
    edge=STREAMS,
    audits=audits(1, 4),
)
RETINANET = ModelRules(
    name="retinanet",
    performance_sample_count=64,
    offline_min_samples=24576,
    dataset_size=24_781,
    accuracy=floors(0.99, mAP=37.55),
    server_target_latency_ns=100 * MS,
    datacenter=SERVER,
    edge=STREAMS,
    audits=audits(1),
)
BERTS = tuple(
    ModelRules(
        name=f"bert-{percent}",
        **samples(10833),
        accuracy=floors(factor, F1=90.874),
        edge=SINGLE,
        audits=audits(1),
    )
    for percent, factor in FACTOR.items()
)
DLRMS = tuple(
    ModelRules(
        name=f"dlrm-v2-{percent}",
        performance_sample_count=204_800,
        offline_min_samples=24576,
        dataset_size=330_067,
        accuracy=floors(factor, AUC=80.31),
        server_target_latency_ns=60 * MS,
        datacenter=SERVER,
        audits=audits(1),
    )
    for percent, factor in FACTOR.items()
)
UNETS = tuple(
    ModelRules(
        name=f"3d-unet-{percent}",
        **samples(43),
        accuracy=floors(factor, DICE=0.86170),
        datacenter=OFFLINE,
        edge=SINGLE,
        audits=audits(1),
        equal_issue=True,
    )
    for percent, factor in FACTOR.items()
)
GPTJS = tuple(
    ModelRules(
        name=f"gptj-{percent}",
        **samples(13368),
        accuracy=(
            *floors(factor, ROUGE1=42.9865, ROUGE2=20.1235, ROUGEL=29.9881),
            *floors(0.9, GEN_LEN=4016878),
        ),
        server_target_latency_ns=20 * S,
        datacenter=SERVER,
        edge=SINGLE,
        result_fields=INFERRED_TOKENS,
        units=TOKENS_PER_S,
        tokens_per_sample=69,
        equal_issue=True,
    )
    for percent, factor in FACTOR.items()
)
LLAMA2_LIMITS = limits((2000, 200))
LLAMAS = tuple(
    ModelRules(
        name=f"llama2-70b-{percent}",
        **samples(24576),
        accuracy=(
            *floors(factor, ROUGE1=44.4312, ROUGE2=22.0352, ROUGEL=28.6162),
            AccuracyTarget("TOKENS_PER_SAMPLE", 294.45 * 0.9, 294.45 * 1.1),
        ),
        server_target_latency_ns=20 * S,
        datacenter=SERVER,
        result_fields=TOKENS,
        units=TOKENS_PER_S,
        token_latencies=True,
        token_limits=LLAMA2_LIMITS,
        audits=audits(6),
        equal_issue=True,
    )
    for percent, factor in FACTOR.items()
)
SDXL = ModelRules(
    name="stable-diffusion-xl",
    **samples(5000),
    accuracy=(
        AccuracyTarget("CLIP_SCORE", 31.68631873, 31.81331801),
        AccuracyTarget("FID_SCORE", 23.01085758, 23.95007626),
    ),
    server_target_latency_ns=20 * S,
    datacenter=SERVER,
    edge=SINGLE,
    audits=audits(1, 4),
    audit_delta_percent=MappingProxyType({"CLIP_SCORE": 1.0, "FID_SCORE": 2.0}),
)


def mixtral(tokens: float, rouge: tuple[float, float, float], gsm8k: float, mbxp: float) -> ModelRules:
    """Return mixtral-8x7b with a round's reference values; the ceiling of tokens is the same in all."""
    rouge1, rouge2, rouge_l = rouge
    return ModelRules(
        name="mixtral-8x7b",
        **samples(15000),
        accuracy=(
            *floors(0.99, ROUGE1=rouge1, ROUGE2=rouge2, ROUGEL=rouge_l),
            AccuracyTarget("TOKENS_PER_SAMPLE", tokens * 0.9, 145.9 * 1.1),
            *floors(0.99, gsm8k_accuracy=gsm8k, mbxp_accuracy=mbxp),
        ),
        datacenter=SERVER,
        result_fields=TOKENS,
        units=TOKENS_PER_S,
        token_latencies=True,
        token_limits=LLAMA2_LIMITS,
        audits=audits(6),
        equal_issue=True,
    )
