"""What a submission tree is made of: the typed description that `write_tree` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mlperf_submission.compliance.audits import AuditVerdict
from mlperf_submission.rounds import Round, RunKind, Scenario
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, SUMMARY

REHEARSAL = "THIS IS A REHEARSAL AND NO RESULT"


@dataclass(frozen=True)
class Layout:
    """Where the files of a submitter lie in a round, below `<division>/<submitter>/` (rules S, V-41, V-42).

    Up to v5.1 measurements and audits have folders of their own beside the results; from v6.0 on they lie
    with the result that they belong to. A place is `<system>/<benchmark>/<scenario>`.
    """

    round: Round

    @property
    def code(self) -> str:
        """The folder of the implementations."""
        return self.round.source_folder

    def system(self, system: str) -> str:
        """Return the file of a system's description."""
        return f"systems/{system}.json"

    @property
    def calibration(self) -> str:
        """The document that says how the networks were quantised."""
        return "documentation/calibration.md"

    def result(self, place: str) -> str:
        """Return the folder of a result's performance and accuracy runs."""
        return f"results/{place}"

    def measurements(self, place: str) -> str:
        """Return the folder of a result's measurements file, conf files and README."""
        return f"{self.round.room('measurements')}/{place}"

    def measurements_file(self, place: str, implementation: str) -> str:
        """Return the measurements file of a result (rule E-05)."""
        system, _, scenario = place.split("/")
        own = f"{system}_{implementation}_{scenario}.json"
        return f"{self.measurements(place)}/{'measurements.json' if self.round.runs_beside_results else own}"

    def audit(self, place: str, kind: RunKind) -> str:
        """Return the folder of an audit."""
        return f"{self.round.room('compliance')}/{place}/{kind}"


class _Plan(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunFolder(_Plan):
    """The folder of one LoadGen run, with its logs as LoadGen wrote them.

    Attributes:
        kind: what the run was for.
        folder: holds `mlperf_log_detail.txt`, `mlperf_log_summary.txt` and the complete
            `mlperf_log_accuracy.json`.
        hashes: SHA-256 of the files, by name, as recorded when the run finished; checked where given.
    """

    kind: RunKind
    folder: Path
    hashes: Mapping[str, str] = Field(default_factory=dict)

    @property
    def detail(self) -> Path:
        """The detail log."""
        return self.folder / DETAIL

    @property
    def summary(self) -> Path:
        """The summary."""
        return self.folder / SUMMARY

    @property
    def accuracy_log(self) -> Path:
        """The complete accuracy log."""
        return self.folder / ACCURACY_LOG


class AuditPlan(_Plan):
    """One audit of a result: its run and the verdict on it."""

    run: RunFolder
    verdict: AuditVerdict


class CodeSource(_Plan):
    """A file or folder that is copied into the code folder of a result.

    Attributes:
        path: the file or folder; caches, hidden files and links in a folder are left out.
        name: relative path below `code/<model>/<implementation>/`.
    """

    path: Path
    name: str = Field(min_length=1)


class Calibration(_Plan):
    """How the weights and activations got their types.

    Attributes:
        method: prose; also says so if nothing was calibrated.
        facts: e.g. calibration set, number of samples, tool with version, agreement with FP32.
    """

    method: str = Field(min_length=1)
    facts: Mapping[str, str] = Field(default_factory=dict)


class ResultPlan(_Plan):
    """One result: a benchmark in a scenario, with all of its runs.

    Attributes:
        benchmark: directory name, e.g. `resnet50`.
        scenario: the scenario.
        implementation: e.g. `tensorrt` or `onnxruntime`.
        input_data_types, retraining, starting_weights_filename, weight_data_types, weight_transformations:
            the five values of the measurements file (rule E-06).
        performance, accuracy: the two runs.
        accuracy_txt: `accuracy.txt` with the hash of the complete accuracy log.
        audits: the compliance tests.
        command: the exact command that made this result.
        engine: what is known of the engine, one `name: value` per line.
        calibration: how the network was quantised.
        code: files that are added to the code folder.
    """

    benchmark: str = Field(min_length=1)
    scenario: Scenario
    implementation: str = Field(min_length=1)
    input_data_types: str = Field(min_length=1)
    retraining: str = Field(default="No", min_length=1)
    starting_weights_filename: str = Field(min_length=1)
    weight_data_types: str = Field(min_length=1)
    weight_transformations: str = Field(min_length=1)
    performance: RunFolder
    accuracy: RunFolder
    accuracy_txt: Path
    audits: tuple[AuditPlan, ...] = ()
    command: str = Field(min_length=1)
    engine: tuple[str, ...] = ()
    calibration: Calibration
    code: tuple[CodeSource, ...] = ()

    @property
    def place(self) -> str:
        """`<benchmark>/<scenario>`, as in the tree."""
        return f"{self.benchmark}/{self.scenario}"

    @property
    def runs(self) -> tuple[RunFolder, ...]:
        """All runs of the result."""
        return (self.performance, self.accuracy, *(audit.run for audit in self.audits))


class TreePlan(_Plan):
    """A submission of one system.

    Attributes:
        round: e.g. `v4.1`.
        division, submitter, system: directory names.
        system_type: `datacenter`, `edge` or `datacenter,edge`; what the description says comes first.
        description: fields of `systems/<system>.json`; division, submitter and system_type are filled in.
        results: the results.
        project_version: version of this project, for the README files.
        tuning_file: the system file; it is put beside the code.
        rehearsal: whether nothing of this may pass as a result.
    """

    round: str
    division: Literal["closed", "open", "network"] = "closed"
    submitter: str = Field(min_length=1)
    system: str = Field(min_length=1)
    system_type: Literal["datacenter", "edge", "datacenter,edge"] = "datacenter"
    description: Mapping[str, str | int]
    results: tuple[ResultPlan, ...] = Field(min_length=1)
    project_version: str = Field(min_length=1)
    tuning_file: Path
    rehearsal: bool
