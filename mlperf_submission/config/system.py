"""The system file: who submits, what hardware, which benchmarks, how each is tuned. One YAML file each."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlperf_submission.addresses import scrubbed, shown
from mlperf_submission.errors import SettingError
from mlperf_submission.harness.limits import DisturbanceLimits
from mlperf_submission.harness.settings import SUPPORTED_SCENARIOS
from mlperf_submission.rounds import ROUNDS, ModelRules, Round, Scenario, get_round
from mlperf_submission.strict_yaml import LARGEST_BYTES, read_yaml
from mlperf_submission.submission import description
from mlperf_submission.submission.results import STREAMS
from mlperf_submission.tree.checks import refused_description

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
RETAIN_DAYS = 90
"""The tree holds accuracy logs that are cut short; the official tool that cuts them asks to keep the
originals in case MLPerf wants to see them (mlcommons/inference, tools/submission/truncate_accuracy_log.py).
No rule says for how long: the steps of an audit take up to 79 days (28 to choose the auditor, 14 for the
agreement, 30 for the report, 7 to forward it: inference_rules.adoc, "Audit Process")."""
_YEAR = 366 * 24 * 3600.0
SYSTEMS_FOLDER = Path(__file__).resolve().parents[2] / "deployments" / "systems"


class _Settings(BaseModel):
    # Strict: what a person wrote is taken as it stands, or refused; `true` is no 1 and "8" is no 8.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Tuning(_Settings):
    """How one benchmark runs in one scenario."""

    target_qps: float | None = Field(
        default=None,
        gt=0,
        le=1e12,
        description="Server: Poisson arrival rate, queries/s; Offline: expected samples/s. By default what a "
        "short probe reaches, in the Server of a rehearsal a share of it",
    )
    expected_latency_ms: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="SingleStream and MultiStream: how long a query is expected to take, ms; LoadGen "
        "prepares as many queries as that asks for. By default what a short probe shows",
    )
    target_qps_floor: float = Field(
        default=0.95,
        gt=0.5,
        le=1.0,
        description="Server: a submission's run that misses its latency limit is measured again at lower "
        "targets, down to this share of target_qps; 1: never",
    )
    batch_size: int = Field(
        default=1,
        ge=1,
        le=1 << 20,
        description="largest batch, samples (3d-unet: windows); a query of MultiStream has 8",
    )
    max_wait_us: int | None = Field(
        default=None,
        ge=0,
        le=1 << 30,
        description="Server: how long a batch may wait to fill, in µs; by default what the latency limit and "
        "the measured time of a batch allow",
    )
    streams: int = Field(default=1, ge=1, le=1024, description="execution streams per device")
    audit_qps_factor: float = Field(
        default=1.0, gt=0.9, le=1.0, description="Server: share of target_qps that the audits run at"
    )

    @property
    def rate(self) -> float | None:
        """The rate that LoadGen is told, 1/s: target_qps, or one over the expected latency; None: none."""
        return 1e3 / self.expected_latency_ms if self.expected_latency_ms else self.target_qps


class BenchmarkSettings(_Settings):
    """What a system runs of one benchmark."""

    precision: Literal["fp32", "fp16", "int8"] = Field(description="precision of weights and activations")
    offline: Tuning | None = Field(default=None, alias="Offline")
    server: Tuning | None = Field(default=None, alias="Server")
    single_stream: Tuning | None = Field(default=None, alias="SingleStream")
    multi_stream: Tuning | None = Field(default=None, alias="MultiStream")
    performance_sample_count: int | None = Field(
        default=None,
        ge=1,
        le=1 << 30,
        description="samples kept loaded; the round's minimum by default, and no more than a rehearsal has",
    )
    mini_samples: int = Field(
        default=1200,
        ge=1,
        le=1 << 20,
        description="validation samples of a rehearsal; --full-length takes the round's number",
    )

    @field_validator("offline", "server", "single_stream", "multi_stream", mode="before")
    @classmethod
    def _is_not_empty(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("nothing stands below it; write {} for the defaults, or leave the scenario out")
        return value

    @property
    def scenarios(self) -> dict[Scenario, Tuning]:
        """The scenarios that the file names, Offline first."""
        all_of_them = {
            Scenario.OFFLINE: self.offline,
            Scenario.SERVER: self.server,
            Scenario.SINGLE_STREAM: self.single_stream,
            Scenario.MULTI_STREAM: self.multi_stream,
        }
        return {scenario: tuning for scenario, tuning in all_of_them.items() if tuning}

    @model_validator(mode="after")
    def _has_a_scenario(self) -> BenchmarkSettings:
        if not self.scenarios:
            raise ValueError(f"at least one scenario ({', '.join(SUPPORTED_SCENARIOS)}) is needed")
        return self

    @model_validator(mode="after")
    def _targets_fit_their_scenario(self) -> BenchmarkSettings:
        for scenario, tuning in self.scenarios.items():
            given, other = "target_qps", "expected_latency_ms"
            if scenario not in STREAMS:
                given, other = other, given
            if getattr(tuning, given) is not None:
                raise ValueError(f"{scenario} has no {given}; write its {other}, or nothing for a probe")
        return self


class Accelerator(_Settings):
    """What engines are built for."""

    name: str = Field(description="as NVIDIA spells it, e.g. NVIDIA L40S")
    compute_capability: str = Field(pattern=r"^\d+\.\d+$", description="e.g. 8.9 for the L40S")
    count: int = Field(ge=1, le=1024, description="accelerators in the system")


class StoreLocation(_Settings):
    """Where the finished submission is kept. Keys come from the AWS chain or a Prefect block."""

    bucket: str = Field(default="mlperf", min_length=3, max_length=63)
    prefix: str = Field(default="", description="folder in the bucket")
    endpoint_url: str | None = Field(
        default=None,
        description="S3 endpoint; none: AWS_ENDPOINT_URL_S3, or an S3 server of our own below --work",
    )
    region: str | None = Field(default=None, description="by default that of the AWS environment")
    credentials_block: str | None = Field(
        default=None,
        min_length=1,
        description="a Prefect Secret block, JSON with aws_access_key_id and aws_secret_access_key, or one "
        "of prefect-aws as aws-credentials/NAME, minio-credentials/NAME or s3-bucket/NAME; by default the "
        "standard AWS chain (environment, files, instance role)",
    )
    encryption: Literal["none", "AES256", "aws:kms"] = Field(
        default="none", description="encryption at rest that is asked of the server for every object"
    )
    kms_key_id: str | None = Field(
        default=None, min_length=1, description="for aws:kms; by default the bucket's own key"
    )
    page_link_hours: int = Field(
        default=24,
        ge=0,
        le=168,
        description="how long a link on Prefect's page opens the results page for whoever has it; 0: none",
    )
    retain_days: int = Field(
        default=RETAIN_DAYS,
        ge=0,
        le=36_500,
        description="how long full accuracy logs outlive their run's removal",
    )

    @model_validator(mode="after")
    def _key_has_its_encryption(self) -> StoreLocation:
        if self.kms_key_id and self.encryption != "aws:kms":
            raise ValueError("a kms_key_id needs encryption: aws:kms")
        return self


class Limits(_Settings):
    """Time limits in seconds; a step that runs over its limit is ended."""

    download: float = Field(default=4 * 3600, gt=0, le=_YEAR)
    preprocess: float = Field(default=4 * 3600, gt=0, le=_YEAR)
    quantize: float = Field(default=3600, gt=0, le=_YEAR)
    build_engine: float = Field(default=2 * 3600, gt=0, le=_YEAR)
    run: float = Field(
        default=3 * 3600, gt=0, le=_YEAR, description="one LoadGen run, from the moment it has the host"
    )
    upload: float = Field(default=2 * 3600, gt=0, le=_YEAR)


class Interference(_Settings):
    """What is done about a timed run that something else on the host disturbed."""

    when_disturbed: Literal["repeat", "flag"] | None = Field(
        default=None,
        description="repeat: measure again, within the retries of an INVALID run, then flag what stays so; "
        "flag: keep it and say so; by default repeat, for a rehearsal flag",
    )
    limits: DisturbanceLimits = DisturbanceLimits()


class System(_Settings):
    """One system file."""

    name: str = Field(description="the system's directory name in the official tree")
    submitter: str = Field(description="the submitter's directory name in the official tree")
    division: Literal["closed", "open"] = "closed"
    category: Literal["datacenter", "edge", "datacenter,edge"] = Field(
        default="datacenter",
        description="it decides which scenarios of a benchmark the round asks for; a system of both has all",
    )
    round: str = Field(description="v4.1, …")
    edition: Literal["full", "mini"] = Field(description="mini: a rehearsal on small data; never a result")
    backend: Literal["auto", "tensorrt", "onnxruntime"] = Field(
        default="auto",
        description="auto: TensorRT on the accelerator's GPUs; a rehearsal without them runs on the CPU",
    )
    accelerator: Accelerator
    description: dict[str, str | int] = Field(
        default_factory=dict,
        description="the fields of systems/<name>.json; in a rehearsal the machine tells what is left out",
    )
    benchmarks: dict[str, BenchmarkSettings] = Field(min_length=1)
    licensed_data: dict[str, Annotated[Path, Field(strict=False)]] = Field(
        default_factory=dict,
        description="your own folders of data behind a licence, e.g. imagenet: /data/imagenet",
    )
    sources: dict[str, str] = Field(
        default_factory=dict,
        description="your own copy of a published source, in place of its owner's address: a folder, a file "
        "or an https address, e.g. gptj-99.network: /data/gptj",
    )
    official_checker: Annotated[Path, Field(strict=False)] | None = Field(
        default=None,
        description="your clone of https://github.com/mlcommons/inference: its submission checker judges the "
        "tree beside ours, and its verdict is shown wherever ours is",
    )
    rehearsal_seconds: float = Field(
        default=2.0, gt=0, le=86_400, description="length of a timed run of a rehearsal"
    )
    interference: Interference = Interference()
    store: StoreLocation = StoreLocation()
    limits: Limits = Limits()

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing of this system may ever pass as a result."""
        return self.edition == "mini"

    @property
    def system_type(self) -> str:
        """The category by which the round judges the system, as its description says."""
        return str(self.description.get("system_type", self.category))

    @property
    def repeats_disturbed_runs(self) -> bool:
        """Whether a disturbed run is measured again, rather than only flagged."""
        action = self.interference.when_disturbed
        return action == "repeat" if action else not self.is_rehearsal

    @field_validator("name", "submitter")
    @classmethod
    def _is_a_directory_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(
                "only letters, digits, '_', '.' and '-', at most 128, the first a letter or digit"
            )
        return value

    @field_validator("round", mode="before")
    @classmethod
    def _is_a_round(cls, value: Any) -> Any:
        if str(value) not in ROUNDS:
            near = f"; write v{value}" if f"v{value}" in ROUNDS else ""
            raise ValueError(f"unknown round{near}; known rounds: {', '.join(ROUNDS)}")
        return value

    @field_validator("sources")
    @classmethod
    def _are_paths_or_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for key, own in value.items():
            if not (own.startswith("https://") or Path(own).is_absolute()):
                raise ValueError(f"{key} is neither an absolute path nor an https address: {shown(own)!r}")
        return value

    @field_validator("official_checker")
    @classmethod
    def _is_absolute(cls, value: Path | None) -> Path | None:
        if value and not value.is_absolute():
            raise ValueError(f"{str(value)!r} is no absolute path, so it depends on who runs this")
        return value

    @field_validator("description")
    @classmethod
    def _has_known_fields(cls, value: dict[str, str | int]) -> dict[str, str | int]:
        for field in value:
            if field not in description.KNOWN:
                near = difflib.get_close_matches(field, description.KNOWN, n=3)
                raise ValueError(f"unknown field {field!r}; near it: {', '.join(near) or 'none'}")
        return value

    @model_validator(mode="after")
    def _benchmarks_are_in_the_round(self) -> System:
        for benchmark in self.benchmarks:
            try:
                get_round(self.round).model(benchmark)
            except SettingError as error:
                raise ValueError(f"{error.what}; {error.remedy}") from error
            server = self.benchmarks[benchmark].server
            if server and server.target_qps is None and not self.is_rehearsal:
                raise ValueError(f"benchmarks.{benchmark}.Server needs its target_qps, queries/s")
        if self.is_rehearsal and "rehearsal" not in self.name.lower():
            raise ValueError("a system of edition mini must have the word rehearsal in its name")
        return self

    @model_validator(mode="after")
    def _its_tree_can_be_written(self) -> System:
        """Refuse before hours of measuring what packaging would refuse after them."""
        round_ = get_round(self.round)
        for benchmark, settings in self.benchmarks.items():
            rules = round_.model(benchmark)
            accepted = rules.required(self.system_type) | rules.optional(self.system_type)
            for scenario in sorted(settings.scenarios.keys() - accepted):
                raise ValueError(
                    f"round {self.round} has no {scenario} for {benchmark} in the category "
                    f"{self.system_type}; it accepts: {', '.join(sorted(accepted)) or _elsewhere(rules)}"
                )
        given = (self.description, self.division, self.submitter, self.category)
        wrong = list(refused_description(*given, told_later=self.is_rehearsal))
        if wrong:
            raise ValueError(f"description: {'; '.join(wrong)}")
        if self.division == "closed" and not self.is_rehearsal:
            self._require_scenarios(round_)
        return self

    def _require_scenarios(self, round_: Round) -> None:
        """Refuse a closed system that could not be handed in although all of its results are sound (M-05)."""
        for benchmark, settings in self.benchmarks.items():
            required = round_.model(benchmark).required(self.system_type)
            missing = [scenario for scenario in Scenario if scenario in required - settings.scenarios.keys()]
            if missing:
                raise ValueError(
                    f"benchmarks.{benchmark} lacks {' and '.join(missing)}, which round {self.round} asks "
                    f"for in the category {self.system_type}"
                )


def _elsewhere(rules: ModelRules) -> str:
    """Say in which categories a round accepts a benchmark."""
    found = {one: rules.required(one) | rules.optional(one) for one in ("datacenter", "edge")}
    told = [f"in {name} {', '.join(sorted(scenarios))}" for name, scenarios in found.items() if scenarios]
    return "; ".join(told) or "no scenario in any category"


def load_system(name_or_path: str) -> System:
    """Read a system by its name in deployments/systems, or by the path of its file.

    Raises:
        SettingError: no such system (the message lists the known ones), not YAML, or a wrong setting
            (the message says which, where, and which are known).
    """
    path = _find(name_or_path)
    with path.open("rb") as stream:
        content = read_yaml(stream.read(LARGEST_BYTES + 1), path)
    if not isinstance(content, dict):
        raise SettingError(
            "the file holds no settings", where=path, remedy="see deployments/systems/rehearsal.yaml"
        )
    try:
        return System.model_validate(content)
    except ValidationError as error:
        raise SettingError(
            "; ".join(dict.fromkeys(_problem(dict(one)) for one in error.errors())),
            where=path,
            remedy="correct the settings that are named; deployments/systems/rehearsal.yaml is an example",
        ) from error


def known_systems() -> list[str]:
    """Return the names of the systems in deployments/systems."""
    return sorted(path.stem for path in SYSTEMS_FOLDER.glob("*.yaml"))


def _find(name_or_path: str) -> Path:
    given = Path(name_or_path)
    if given.suffix in (".yaml", ".yml"):
        if given.is_file():
            return given
        raise SettingError(
            "there is no such system file", where=given, remedy=f"known systems: {', '.join(known_systems())}"
        )
    if name_or_path in known_systems():
        return SYSTEMS_FOLDER / f"{name_or_path}.yaml"
    near = difflib.get_close_matches(name_or_path, known_systems(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise SettingError(
        f"unknown system {name_or_path!r}",
        where=SYSTEMS_FOLDER,
        remedy=f"{hint}known systems: {', '.join(known_systems())}; or give the path of a .yaml file",
    )


def _problem(error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    if location[:1] == ["description"]:
        location = location[:2]  # what follows names the types that a value may have
    place = ".".join(location) or "the file"
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        known = ", ".join(_known_keys(location[:-1]))
        return f"{place}: unknown key; known here: {known}"
    if kind == "missing":
        return f"{place}: missing"
    if isinstance(value, bool | int | float) and (kind == "string_type" or location[0] == "description"):
        written = str(value).lower() if isinstance(value, bool) else value
        return f'{place}: {written} is no text; quote it: {location[-1]}: "{written}"'
    unquoted = "; write it without quotes" if kind in ("int_type", "float_type") and _is_number(value) else ""
    if isinstance(value, dict):  # what is wrong with it is in the message, and all of it is too much
        return scrubbed(f"{place}: {error['msg']}")
    return f"{place}: {error['msg']}, not {scrubbed(reprlib.repr(value))}{unquoted}"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _known_keys(location: list[str]) -> list[str]:
    model: type[BaseModel] = System
    parts = iter(location)
    for part in parts:
        field = next(
            (field for name, field in model.model_fields.items() if part in (name, field.alias)), None
        )
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
        if field and get_origin(field.annotation) is dict:
            next(parts, None)  # the next part is a key of the person's choice
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings model inside an annotation such as `dict[str, Model]` or `Model | None`."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((model for model in map(_model_in, get_args(annotation)) if model), None)
