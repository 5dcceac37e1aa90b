"""The parts that the tables of the rounds share: scenario sets, metrics, limits, facts of each model.

Source of every number: `submission_checker.py` and `constants.py` of mlcommons/inference (tools/submission).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

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
SINGLE_SERVER = SINGLE | {Scenario.SERVER}
ALL_FOUR = STREAMS | {Scenario.SERVER}
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


def at_most(metric: str, ceiling: float) -> AccuracyTarget:
    """Return a target that only has a ceiling."""
    return AccuracyTarget(metric, -math.inf, ceiling)


def limits(
    server: tuple[int, int], interactive: tuple[int, int] | None = None
) -> Mapping[Scenario, TokenLimits]:
    """Return token limits of (TTFT, TPOT) in ms for Server and Interactive."""
    found = {Scenario.SERVER: TokenLimits(server[0] * MS, server[1] * MS)}
    if interactive:
        found[Scenario.INTERACTIVE] = TokenLimits(interactive[0] * MS, interactive[1] * MS)
    return MappingProxyType(found)


def table(rules: Iterable[ModelRules]) -> Mapping[str, ModelRules]:
    """Return models by their names."""
    return MappingProxyType({one.name: one for one in rules})


def images(*stems: int) -> tuple[str, tuple[str, ...]]:
    """Return the files of SDXL that must be in accuracy/images."""
    return "images", tuple(map(str, stems))


LLAMA2_LIMITS = limits((2000, 200))
LLAMA2_TOKENS = AccuracyTarget("TOKENS_PER_SAMPLE", 294.45 * 0.9, 294.45 * 1.1)
SDXL_TARGETS = (
    AccuracyTarget("CLIP_SCORE", 31.68631873, 31.81331801),
    AccuracyTarget("FID_SCORE", 23.01085758, 23.95007626),
)
SDXL_DELTA: Mapping[str, float] = MappingProxyType({"CLIP_SCORE": 1.0, "FID_SCORE": 2.0})

RESNET = ModelRules(
    name="resnet",
    performance_sample_count=1024,
    offline_min_samples=24576,
    server_target_latency_ns=15 * MS,
    dataset_size=50_000,
    accuracy=floors(0.99, acc=76.46),
    datacenter=SERVER,
    edge=STREAMS,
    both=ALL_FOUR,
    audits=audits(1, 4),
)
RETINANET = ModelRules(
    name="retinanet",
    performance_sample_count=64,
    offline_min_samples=24576,
    server_target_latency_ns=100 * MS,
    dataset_size=24_781,
    accuracy=floors(0.99, mAP=37.55),
    datacenter=SERVER,
    edge=STREAMS,
    both=ALL_FOUR,
    audits=audits(1),
)


def bert(percent: str, **changes: object) -> ModelRules:
    """Return bert-99 or bert-99.9 (`percent` is `99` or `99.9`)."""
    return _built(
        {
            "name": f"bert-{percent}",
            "performance_sample_count": 10833,
            "offline_min_samples": 10833,
            "server_target_latency_ns": None,
            "dataset_size": 10833,
            "accuracy": floors(FACTOR[percent], F1=90.874),
            "edge": SINGLE,
            "both": SINGLE,
            "audits": audits(1),
        },
        changes,
    )


def dlrm(percent: str, **changes: object) -> ModelRules:
    """Return dlrm-v2-99 or dlrm-v2-99.9."""
    return _built(
        {
            "name": f"dlrm-v2-{percent}",
            "performance_sample_count": 204_800,
            "offline_min_samples": 24576,
            "server_target_latency_ns": 60 * MS,
            "dataset_size": 330_067,
            "accuracy": floors(FACTOR[percent], AUC=80.31),
            "datacenter": SERVER,
            "both": SERVER,
            "audits": audits(1),
        },
        changes,
    )


def unet(percent: str, **changes: object) -> ModelRules:
    """Return 3d-unet-99 or 3d-unet-99.9."""
    return _built(
        {
            "name": f"3d-unet-{percent}",
            "performance_sample_count": 43,
            "offline_min_samples": 43,
            "server_target_latency_ns": None,
            "dataset_size": 43,
            "accuracy": floors(FACTOR[percent], DICE=0.86170),
            "datacenter": OFFLINE,
            "edge": SINGLE,
            "both": SINGLE,
            "audits": audits(1),
            "equal_issue": True,
        },
        changes,
    )


def gptj(percent: str, **changes: object) -> ModelRules:
    """Return gptj-99 or gptj-99.9."""
    rouge = floors(FACTOR[percent], ROUGE1=42.9865, ROUGE2=20.1235, ROUGEL=29.9881)
    return _built(
        {
            "name": f"gptj-{percent}",
            "performance_sample_count": 13368,
            "offline_min_samples": 13368,
            "server_target_latency_ns": 20 * S,
            "dataset_size": 13368,
            "accuracy": (*rouge, *floors(0.9, GEN_LEN=4016878)),
            "datacenter": SERVER,
            "edge": SINGLE,
            "both": SINGLE_SERVER,
            "result_fields": INFERRED_TOKENS,
            "units": TOKENS_PER_S,
            "tokens_per_sample": 69,
            "equal_issue": True,
        },
        changes,
    )


def llama2(percent: str, **changes: object) -> ModelRules:
    """Return llama2-70b-99 or llama2-70b-99.9 (`percent` may begin with `interactive-`)."""
    factor = FACTOR[percent.removeprefix("interactive-")]
    rouge = floors(factor, ROUGE1=44.4312, ROUGE2=22.0352, ROUGEL=28.6162)
    return _built(
        {
            "name": f"llama2-70b-{percent}",
            "performance_sample_count": 24576,
            "offline_min_samples": 24576,
            "server_target_latency_ns": 20 * S,
            "dataset_size": 24576,
            "accuracy": (*rouge, LLAMA2_TOKENS),
            "datacenter": SERVER,
            "both": SERVER,
            "result_fields": TOKENS,
            "units": TOKENS_PER_S,
            "token_latencies": True,
            "token_limits": LLAMA2_LIMITS,
            "audits": audits(6),
            "equal_issue": True,
        },
        changes,
    )


def mixtral(
    tokens: float, rouge: tuple[float, float, float], gsm8k: float, mbxp: float, **changes: object
) -> ModelRules:
    """Return mixtral-8x7b with a round's reference values; the ceiling of tokens is the same in all."""
    rouge1, rouge2, rouge_l = rouge
    return _built(
        {
            "name": "mixtral-8x7b",
            "performance_sample_count": 15000,
            "offline_min_samples": 15000,
            "server_target_latency_ns": None,
            "dataset_size": 15000,
            "accuracy": (
                *floors(0.99, ROUGE1=rouge1, ROUGE2=rouge2, ROUGEL=rouge_l),
                AccuracyTarget("TOKENS_PER_SAMPLE", tokens * 0.9, 145.9 * 1.1),
                *floors(0.99, gsm8k_accuracy=gsm8k, mbxp_accuracy=mbxp),
            ),
            "datacenter": SERVER,
            "both": SERVER,
            "result_fields": TOKENS,
            "units": TOKENS_PER_S,
            "token_latencies": True,
            "token_limits": LLAMA2_LIMITS,
            "audits": audits(6),
            "equal_issue": True,
        },
        changes,
    )


def sdxl(**changes: object) -> ModelRules:
    """Return stable-diffusion-xl."""
    return _built(
        {
            "name": "stable-diffusion-xl",
            "performance_sample_count": 5000,
            "offline_min_samples": 5000,
            "server_target_latency_ns": 20 * S,
            "dataset_size": 5000,
            "accuracy": SDXL_TARGETS,
            "datacenter": SERVER,
            "edge": SINGLE,
            "both": SINGLE_SERVER,
            "audits": audits(1, 4),
            "audit_delta_percent": SDXL_DELTA,
        },
        changes,
    )


def _built(facts: Mapping[str, object], changes: Mapping[str, object]) -> ModelRules:
    return ModelRules(**{**facts, **changes})  # type: ignore[arg-type]
