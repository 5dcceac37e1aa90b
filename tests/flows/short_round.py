"""The command line under a round of seconds: what a submission does in a bad night, tried in half a minute.

Everything is the program's own but a few numbers of the round. `python -m tests.flows.short_round run …`
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mlperf_submission import rounds
from mlperf_submission.harness import settings
from mlperf_submission.rounds import Round, Scenario

DATASET = 500
"""Samples of the rehearsal's resnet50."""
LATENCY_NS = 60 * 10**9
"""A limit that every machine keeps at the target below."""
MILLISECONDS = 200
"""A run of one sample is shorter, one of thousands is longer, on every machine."""
FEW_QUERIES = {**settings.MIN_QUERIES, Scenario.SERVER: 500}
"""Early stopping wants 459."""


def short(round_: Round) -> Round:
    """Return a round whose runs take seconds, whose resnet50 is small, and that asks for no audits."""
    resnet = replace(
        round_.model("resnet50"),
        dataset_size=DATASET,
        performance_sample_count=DATASET,
        offline_min_samples=1,
        server_target_latency_ns=LATENCY_NS,
        audits=(),
    )
    models = MappingProxyType({**round_.models, "resnet": resnet})
    return replace(round_, min_duration_ms=MILLISECONDS, models=models)


if __name__ == "__main__":
    settings.MIN_QUERIES = FEW_QUERIES
    rounds.ROUNDS["v4.1"] = short(rounds.ROUNDS["v4.1"])  # type: ignore[index]
    from cli.main import main

    main()
