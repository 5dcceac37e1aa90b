"""Which round a tree is of, by the seeds and the LoadGen of its performance logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError, TreeError
from mlperf_submission.rounds import ROUNDS, Round
from mlperf_submission.submission.detail_log import read_detail
from mlperf_submission.submission.files import DETAIL, DIVISIONS, Tree, shown

_VERSION = re.compile(r"(\d+)\.(\d+)")
SEED_KEYS = ("effective_qsl_rng_seed", "effective_sample_index_rng_seed", "effective_schedule_rng_seed")
"""The keys of the seeds in a log, in the order of `Seeds`."""
_KEYS = frozenset({*SEED_KEYS, "loadgen_version"})
_NAMED = 3


def round_of(root: Path) -> str:
    """Return the name of the round that a tree is of.

    The seeds of the performance logs decide: each round has its own. Only where no log has the seeds of a
    round does LoadGen's version. A few results of another round are results that are refused (P-05), so the
    round of more than half of the logs is taken. A folder without a single result is of no round; the newest
    is returned, by which it is refused as by every other (`+nothing-to-check`).

    Raises:
        TreeError: no result has a performance log, the logs are of no known round, or of several rounds of
            which none has more than half of them.
    """
    tree = Tree(root)
    seeds: dict[str, list[str]] = {}
    versions: dict[str, list[str]] = {}
    unknown: list[str] = []
    folders = list(_result_folders(tree))
    if not folders:
        return list(ROUNDS)[-1]
    for folder in folders:
        path = f"{folder}/performance/run_1/{DETAIL}"
        if not tree.is_file(path):
            continue
        try:
            log = Path(tree.full(path))
            values = read_detail(log, keys=_KEYS, memory=tree.log_memory).values
        except LogError:
            continue
        if found := round_by_seeds(values):
            seeds.setdefault(found.name, []).append(shown(path))
            if 2 * len(seeds[found.name]) > len(folders):  # whatever the others say
                return found.name
        elif found := _round_by_version(values):
            versions.setdefault(found.name, []).append(shown(path))
        else:
            unknown.append(shown(path))
    remedy = f"name the round with --round: {', '.join(ROUNDS)}"
    rounds = seeds or versions
    if not rounds:
        if not unknown:
            raise TreeError(
                "there is no performance log to read the round from",
                where=root,
                remedy=remedy,
                code="no-tree",
            )
        first = ", ".join(unknown[:_NAMED])
        raise TreeError(
            f"the logs have the seeds and the LoadGen of no known round: {first}",
            where=root,
            remedy=remedy,
            code="no-tree",
        )
    most = max(rounds, key=lambda name: len(rounds[name]))
    if 2 * len(rounds[most]) <= sum(map(len, rounds.values())):
        told = "; ".join(
            f"{name}: {len(paths)} logs, as {paths[0]}" for name, paths in sorted(rounds.items())
        )
        raise TreeError(f"the logs are of several rounds: {told}", where=root, remedy=remedy, code="no-tree")
    return most


def round_by_seeds(values: Mapping[str, Any]) -> Round | None:
    """Return the round whose three seeds a log has; None if it has those of no round."""
    said = tuple(values.get(key) for key in SEED_KEYS)
    return next((one for one in ROUNDS.values() if said == astuple(one.seeds)), None)


def _round_by_version(values: Mapping[str, Any]) -> Round | None:
    match = _VERSION.match(str(values.get("loadgen_version", "")))
    return ROUNDS.get(f"v{match[1]}.{match[2]}") if match else None


def _result_folders(tree: Tree) -> Iterator[str]:
    for division in DIVISIONS:
        for submitter in tree.listing(division).folders:
            results = f"{division}/{submitter}/results"
            for system in tree.listing(results).folders:
                for model in tree.listing(f"{results}/{system}").folders:
                    for scenario in tree.listing(f"{results}/{system}/{model}").folders:
                        yield f"{results}/{system}/{model}/{scenario}"
