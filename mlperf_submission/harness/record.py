"""What a run is asked for and what is found out about it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mlperf_submission.benchmark.facts import EditionName, Precision
from mlperf_submission.harness.interference import DisturbanceLimits, HostState
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.harness.throughput import Throughput
from mlperf_submission.rounds import Scenario

DETAIL_LOG = "mlperf_log_detail.txt"
SUMMARY_LOG = "mlperf_log_summary.txt"
ACCURACY_LOG = "mlperf_log_accuracy.json"
AUDIT_CONFIG = "audit.config"
CHILD_LOG = "harness.log"


class NullTiming(BaseModel):
    """How long the null backend pretends to work, and on how many samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_count: int = Field(default=50_000, ge=1)
    batch_seconds: float = Field(default=0.0, ge=0)
    sample_seconds: float = Field(default=0.0, ge=0)


class RunRequest(BaseModel):
    """One LoadGen run.

    Attributes:
        settings: what LoadGen is told.
        benchmark: name in the registry of benchmarks.
        precision: of the network.
        edition: of the data set, for the record.
        backend: a name of `harness.backends.base.backend_modules`, e.g. `onnxruntime`.
        engine: the ONNX file or the built engine; None for `null`.
        samples: the folder of preprocessed samples; None for `null`.
        batch_size: the largest batch of the network; of samples, unless a loop cuts these up (volumes).
        max_wait_us: how long the oldest sample may wait for its batch to fill (Server); None to derive it
            from the latency limit and the measured time of a batch.
        streams: streams per device.
        threads_per_stream: `onnxruntime` only: threads that work on a batch; None divides the cores among the
            streams.
        devices: device ordinals; empty for all.
        audit_config: the text of `audit.config`, written into the run's folder; None in a plain run.
        disturbance_limits: from where on a run counts as disturbed.
        lock: the host's lock file; None for the default.
        lock_timeout_seconds: how long to wait for the host.
        null: for the null backend.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: RunSettings
    benchmark: str
    precision: Precision = "fp32"
    edition: EditionName = "full"
    backend: str
    engine: Path | None = None
    samples: Path | None = None
    batch_size: int = Field(ge=1)
    max_wait_us: int | None = Field(default=None, ge=0)
    streams: int = Field(default=1, ge=1, le=64)
    threads_per_stream: int | None = Field(default=None, ge=1)
    devices: tuple[int, ...] = ()
    audit_config: str | None = None
    disturbance_limits: DisturbanceLimits = DisturbanceLimits()
    lock: Path | None = None
    lock_timeout_seconds: float = Field(default=24 * 3600, gt=0)
    null: NullTiming = NullTiming()


class Reason(BaseModel):
    """Why a run is not valid, and what can be done about it.

    Attributes:
        text: what is wrong.
        remedy: what a person can do.
        speed: in a few words what it is, if it hangs on the machine's speed or the run's length alone; else
            empty. A rehearsal proves the pipeline, not the machine, and takes note of such a reason.
        code: its entry in the table of failures; empty where a message of LoadGen in the text has one.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    remedy: str
    speed: str = ""
    code: str = ""

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.text} ({self.remedy})"


class Latencies(BaseModel):
    """Latencies in ns from the scheduled arrival to the completion: of samples, in MultiStream of queries."""

    model_config = ConfigDict(frozen=True)

    minimum: int
    mean: int
    p50: int
    p90: int
    p95: int
    p97: int
    p99: int
    p99_9: int
    maximum: int


class ChildReport(BaseModel):
    """What the child process says about the run, beside LoadGen's logs.

    Attributes:
        backend: name and version.
        devices: one name per device.
        details: driver, threads, cores and the like.
        dataset_size: samples of the data set.
        setup_seconds: from holding the host's lock to LoadGen's start: opening, warm-up.
        loadgen_seconds: LoadGen's StartTest, with its loading of samples.
        load_seconds: of these, the untimed loading of samples.
        load_cpu_seconds: processor time of that.
        completed_samples: samples answered.
        batches: in so many batches; of a loop, steps.
        throughput: how many of them in each interval of the run.
        batch_seconds: measured time of a full batch, from the warm-up.
        max_wait_us: how long the oldest sample was allowed to wait.
        before: the host right before LoadGen's start.
        after: the host right after its end.
        disturbances: what disturbed the run beyond the limits, in words.
    """

    model_config = ConfigDict(frozen=True)

    backend: str
    devices: tuple[str, ...]
    details: dict[str, str]
    dataset_size: int
    setup_seconds: float
    loadgen_seconds: float
    load_seconds: float
    load_cpu_seconds: float
    completed_samples: int
    batches: int
    throughput: Throughput = Throughput()
    batch_seconds: float
    max_wait_us: int
    before: HostState
    after: HostState
    disturbances: tuple[str, ...] = ()


class RunOutcome(BaseModel):
    """What came of a run.

    Attributes:
        folder: holds LoadGen's files.
        settings: what was asked for.
        valid: LoadGen calls the run VALID (an accuracy run: it is complete), its log shows no error, and it
            shows the settings that were asked for.
        reasons: why not, if not.
        value: the result as the round asks for it, in `units`; None for an accuracy run.
        units: as the official tables name them, e.g. `Samples/s`, or `Latency (ms)` of a stream.
        latencies: None for an accuracy run.
        samples_issued: samples that LoadGen issued.
        loadgen_version: as the log says.
        warnings: LoadGen's warnings.
        child: what the child process says.
        total_seconds: from the call to the outcome, with waiting for the host.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    settings: RunSettings
    valid: bool
    reasons: tuple[Reason, ...]
    value: float | None
    units: str = "Samples/s"
    latencies: Latencies | None
    samples_issued: int
    loadgen_version: str
    warnings: tuple[str, ...]
    child: ChildReport
    total_seconds: float

    @property
    def faults(self) -> tuple[Reason, ...]:
        """The reasons that do not hang on speed or length: these count in a rehearsal too."""
        return tuple(reason for reason in self.reasons if not reason.speed)

    @property
    def over_latency(self) -> bool:
        """Whether a Server run is INVALID for its latency: a lower target may be met."""
        if self.valid or self.latencies is None or self.settings.scenario is not Scenario.SERVER:
            return False
        return self.latencies.p99 > self.settings.target_latency_ns

    @property
    def too_short(self) -> bool:
        """Whether a run, whose target says how many queries it has, ended before its least duration."""
        server = self.settings.scenario is Scenario.SERVER
        return not server and any(reason.code == "run-too-short" for reason in self.reasons)

    @property
    def device_names(self) -> tuple[str, ...]:
        """One name per device."""
        return self.child.devices

    @property
    def disturbances(self) -> tuple[str, ...]:
        """What disturbed the run beyond its limits; such a run is valid, but better repeated."""
        return self.child.disturbances

    @property
    def loadgen_seconds(self) -> float:
        """How long LoadGen ran."""
        return self.child.loadgen_seconds

    @property
    def setup_seconds(self) -> float:
        """How long the opening and the warm-up took."""
        return self.child.setup_seconds
