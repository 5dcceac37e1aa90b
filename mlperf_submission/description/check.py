"""Whether a system description agrees with what the runs logged. A difference is a warning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from mlperf_submission.description.probe import whole_number
from mlperf_submission.submission.detail_log import DetailLog

_VERSION = re.compile(r"\d+(?:\.\d+)+")


class RunFacts(BaseModel):
    """What one run logged of the machine it ran on.

    Attributes:
        run: which run, e.g. `resnet50 Offline performance`.
        backend: the backend with its version, e.g. `TensorRT 10.2.0`; empty if it is not known.
        devices: one name per device that ran the network.
        loadgen: LoadGen's version as it logged it.
    """

    model_config = ConfigDict(frozen=True)
    run: str
    backend: str = ""
    devices: tuple[str, ...] = ()
    loadgen: str = ""

    @staticmethod
    def of(run: str, log: DetailLog, *, backend: str = "", devices: Sequence[str] = ()) -> RunFacts:
        """Return the facts of a run: its log's, and what the harness recorded beside it."""
        loadgen = str(log.values.get("loadgen_version", ""))
        return RunFacts(run=run, backend=backend, devices=tuple(devices), loadgen=loadgen)


def differences(description: Mapping[str, str | int], runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """Return the differences between a description and the runs, each in one sentence; none if they agree.

    Args:
        description: the fields of `systems/<system>.json`.
        runs: what the runs logged.
    """
    found: list[str] = []
    for run in runs:
        found += _devices(description, run)
        found += _backend(description, run)
        found += _loadgen(description, run)
    for name, values in (
        ("devices", [", ".join(run.devices) for run in runs if run.devices]),
        ("backends", [run.backend for run in runs if run.backend]),
        ("LoadGen versions", [run.loadgen for run in runs if run.loadgen]),
    ):
        kinds = list(dict.fromkeys(values))
        if len(kinds) > 1:
            found.append(f"the runs of this system logged different {name}: {'; '.join(kinds)}")
    return tuple(dict.fromkeys(found))


def _devices(description: Mapping[str, str | int], run: RunFacts) -> list[str]:
    if not run.devices:
        return []
    count = str(description.get("accelerators_per_node", "")).strip()
    number = whole_number(count)
    model = str(description.get("accelerator_model_name", ""))
    processor = _plain(description.get("host_processor_model_name", ""))
    on_processor = bool(processor) and all(_plain(name) == processor for name in run.devices)
    if on_processor:
        if number:
            return [
                f"{run.run}: it ran on the processor {run.devices[0]}, not on the {count} x {model} described"
            ]
        return []
    found = []
    if number is not None and number != len(run.devices):
        found.append(f"{run.run}: it logged {len(run.devices)} devices, accelerators_per_node says {count}")
    others = [name for name in dict.fromkeys(run.devices) if not _names(model, name)]
    if others:
        found.append(
            f"{run.run}: it logged {', '.join(others)}, accelerator_model_name says {model or 'nothing'!r}"
        )
    return found


def _backend(description: Mapping[str, str | int], run: RunFacts) -> list[str]:
    if not run.backend:
        return []
    described = " ".join(str(description.get(name, "")) for name in ("framework", "other_software_stack"))
    version = _VERSION.search(run.backend)
    title = run.backend[: version.start()] if version else run.backend
    same_name = _plain(title) in _plain(described)
    same_version = version is None or version[0] in described
    if same_name and same_version:
        return []
    return [
        f"{run.run}: it ran with {run.backend}, framework and other_software_stack say {described.strip()!r}"
    ]


def _loadgen(description: Mapping[str, str | int], run: RunFacts) -> list[str]:
    described = re.search(r"(?i)loadgen\s+(\d+(?:\.\d+)+)", str(description.get("other_software_stack", "")))
    logged = _VERSION.search(run.loadgen)
    if described and logged and described[1] != logged[0]:
        return [f"{run.run}: LoadGen logged {logged[0]}, other_software_stack says {described[1]}"]
    return []


def _names(described: str, logged: str) -> bool:
    """Whether a described model is the logged device: one name holds all words of the other."""
    first, second = set(_plain(described, " ").split()), set(_plain(logged, " ").split())
    return bool(first and second) and (first <= second or second <= first)


def _plain(value: object, joint: str = "") -> str:
    return joint.join(re.sub(r"[^a-z0-9.]+", " ", str(value).lower()).split())
