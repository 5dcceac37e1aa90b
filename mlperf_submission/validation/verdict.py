"""What the validation found, in the forms that people and programs read: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning"]

CSV_COLUMNS = (
    *("Organization", "Availability", "Division", "SystemType", "SystemName", "Platform"),
    *("Model", "MlperfModel", "Scenario", "Result", "Accuracy", "number_of_nodes"),
    *("host_processor_model_name", "host_processors_per_node", "host_processor_core_count"),
    *("accelerator_model_name", "accelerators_per_node", "Location", "framework", "operating_system"),
    *("notes", "compliance", "errors", "version", "inferred", "has_power", "Units"),
)
"""The columns of the official v4.1 checker's CSV, in its order; later ones have further columns."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Model):
    """One rule that one place of the tree does not keep.

    Attributes:
        rule: id of the rule catalogue, or one of our own with a leading `+`.
        severity: `error`: the official rules refuse it; `warning`: they let it pass.
        path: the file or folder, relative to the tree.
        message: what is wrong, with the values found.
        remedy: what the submitter can do.
        by_design: of a rehearsal, which need not keep the rule: what such places are, in the plural.
    """

    rule: str
    severity: Severity
    path: str
    message: str
    remedy: str
    by_design: str = ""


class ResultVerdict(_Model):
    """One (system, benchmark, scenario) and whether it is accepted.

    Attributes:
        benchmark: the model's directory name.
        ok: the official rules accept this result.
        value: the result in `units`; None where it cannot be read.
        accuracy: the first target metric's last value in accuracy.txt, as text.
        csv: cells of the official CSV's rows, in the order of `Verdict.csv_columns`; two with power.
    """

    division: str
    submitter: str
    system: str
    benchmark: str
    model: str
    scenario: str
    ok: bool
    value: float | None
    units: str
    accuracy: str | None
    location: str
    csv: tuple[tuple[str, ...], ...] = ()


class Verdict(_Model):
    """The judgement of a whole tree.

    `ok` is false exactly if a failure is an error.
    """

    round: str
    ok: bool
    results: tuple[ResultVerdict, ...]
    failures: tuple[Failure, ...]
    strict: bool = False
    rehearsal: bool = False
    csv_columns: tuple[str, ...] = CSV_COLUMNS

    @property
    def errors(self) -> tuple[Failure, ...]:
        """The failures for which the tree is refused."""
        return tuple(one for one in self.failures if one.severity == "error")

    @property
    def warnings(self) -> tuple[Failure, ...]:
        """The failures that the official rules let pass; of a rehearsal without what it need not keep."""
        return tuple(one for one in self.failures if one.severity == "warning" and not one.by_design)

    @property
    def by_design(self) -> tuple[str, ...]:
        """What a rehearsal need not keep, each fact once, e.g. `P-06: 25 runs of 2 s instead of 600 s`."""
        counts = Counter((one.rule, one.by_design) for one in self.failures if one.by_design)
        return tuple(f"{rule}: {count} {what}" for (rule, what), count in counts.items())

    def to_json(self) -> str:
        """Return the verdict as JSON text (architecture.md, "Command line")."""
        place = ("division", "submitter", "system", "benchmark", "scenario")
        keys = (*place, "ok", "value", "units", "accuracy")
        content: dict[str, object] = {
            "round": self.round,
            "ok": self.ok,
            "results": [{key: getattr(one, key) for key in keys} for one in self.results],
            "failures": [one.model_dump(exclude_defaults=True) for one in self.failures],
        }
        if self.rehearsal:
            content["rehearsal"] = True
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Return the accepted results with the official checker's columns, quoted where CSV asks for it."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.csv_columns)
        for result in self.results:
            if result.ok:
                writer.writerows(result.csv)
        return stream.getvalue()

    def summary(self) -> str:
        """Return one line: accepted or refused, with counts."""
        accepted = sum(one.ok for one in self.results)
        word = "accepted" if self.ok else "refused"
        kind = "rehearsal" if self.rehearsal else "submission"
        return (
            f"{kind} {word} by the rules of {self.round}: {accepted} of {len(self.results)} results, "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings"
            + (f", {len(self.by_design)} notices" if self.by_design else "")
        )
