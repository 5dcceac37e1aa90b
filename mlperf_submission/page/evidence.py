"""What a flow knows about a submission beyond its tree, for its page to show. All of it is optional."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mlperf_submission.rounds import Scenario


class _Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(_Evidence):
    """One line of a record: `TensorRT`, `10.2.0`."""

    label: str
    value: str


class Link(_Evidence):
    """A place to look: `href` may be relative, https or s3; others are shown as text, never linked."""

    label: str
    href: str


class EngineEvidence(_Evidence):
    """The record of the engine that a result was measured with, or that was built beside it."""

    title: str = Field(description="e.g. TensorRT 10.2.0, INT8")
    sha256: str = ""
    facts: tuple[Fact, ...] = ()
    measured: bool = Field(default=True, description="False: kept as an artifact, another backend ran")


class ThroughputPoint(_Evidence):
    """Samples completed in one interval of a run; `seconds` is its end since the run began."""

    seconds: float = Field(ge=0)
    samples: float = Field(ge=0)


class Probe(_Evidence):
    """One short run of the search for the highest rate, in the order they were made."""

    target_qps: float = Field(gt=0)
    latency_ns: float = Field(ge=0, description="at the round's percentile")
    valid: bool
    note: str = ""


class ResultEvidence(_Evidence):
    """What is known of one result (benchmark directory name and scenario)."""

    benchmark: str
    scenario: Scenario
    notice: str = Field(
        default="", description="e.g. run by ONNX Runtime on the CPU, engine kept as artifact"
    )
    batch_size: int | None = None
    precision: str = ""
    engine: EngineEvidence | None = None
    links: tuple[Link, ...] = ()
    remarks: tuple[str, ...] = Field(
        default=(),
        description="what disturbed its runs, and what a rehearsal's would be refused for, each with its run",
    )
    host: tuple[Fact, ...] = Field(default=(), description="the host before and after the performance run")
    throughput: tuple[ThroughputPoint, ...] = ()
    probes: tuple[Probe, ...] = ()


class TimelineStep(_Evidence):
    """One step of the flow on the clock."""

    name: str
    start: AwareDatetime
    end: AwareDatetime
    kind: Literal["prepare", "measure", "audit", "deliver"] = "prepare"


class PageEvidence(_Evidence):
    """Everything that a flow adds to the page of one system."""

    run_id: str = ""
    s3_address: str = Field(default="", description="s3://bucket/prefix that the tree's paths lie below")
    manifest: Link | None = None
    tree_link: str | None = Field(
        default=None,
        description="address of the tree's root as the page links to it; none: relative path on disk",
    )
    notice: str = Field(default="", description="said at the top of the page, e.g. which backend ran and why")
    rehearsal: bool = False
    warnings: tuple[str, ...] = Field(
        default=(), description="e.g. differences between the description and what the runs logged"
    )
    field_sources: tuple[Fact, ...] = Field(
        default=(),
        description="where a field of the description comes from, e.g. `read: lscpu -J` or `typed`",
    )
    results: tuple[ResultEvidence, ...] = ()
    timeline: tuple[TimelineStep, ...] = ()

    def of(self, benchmark: str, scenario: str) -> ResultEvidence | None:
        """Return what is known of one result."""
        return next(
            (one for one in self.results if (one.benchmark, one.scenario) == (benchmark, scenario)), None
        )
