"""The parts that a benchmark is made of: data, network, answer and score.

A benchmark is a folder with a module per part, and `facts`; `models.registry` finds the folders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from mlperf_submission.benchmark.answer import Answer, Samples
from mlperf_submission.benchmark.facts import Edition, Facts, MiniListing, Precision, Subset

if TYPE_CHECKING:
    from onnx import ModelProto
    from pydantic import JsonValue

Part = Literal["data", "network", "answer", "score"]
"""A module of a benchmark's folder. Steps depend on the parts that they use, so that a changed score
measures nothing again."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a network; None in the shape is a free dimension (the batch comes first).

    `scale`, `means` and `deviations` count for int8 inputs only: an int8 sample is the FP32 sample less the
    mean of its channel (axis 1), divided by the channel's deviation and by the scale, rounded and clipped to
    -128..127. Without means the FP32 sample counts as it is; with them an INT8 network begins behind its
    normalisation. `optional` counts for outputs only: a network of the benchmark may lack it, but not all of
    them. `variable_axes` are those whose size may be smaller, all samples of a batch alike, where the network
    leaves them free; the shape then has the largest size.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float = 1.0
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    optional: bool = False
    variable_axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Score:
    """What the accuracy script of a benchmark found.

    Attributes:
        metrics: metric name as in the round's targets (`acc`, `mAP`, `F1`, …) to its value.
        lines: `accuracy.txt` without its hash line, in the format that the official checker reads.
        samples: number of distinct samples that were scored.
    """

    metrics: Mapping[str, float]
    lines: tuple[str, ...]
    samples: int


class AccuracyEntry(Protocol):
    """One entry of `mlperf_log_accuracy.json`."""

    @property
    def qsl_idx(self) -> int:
        """The sample's index."""

    @property
    def data(self) -> bytes:
        """The response bytes."""


@dataclass(frozen=True)
class Progress:
    """How far a long step is: `done` of `total` units."""

    done: int
    total: int
    unit: str = "samples"


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Take progress and do nothing with it."""


@dataclass(frozen=True)
class Preprocessing:
    """What `Data.preprocess` is asked for.

    Attributes:
        dataset: the folder of the edition's files.
        output: an existing, empty folder.
        edition: of the data set.
        subset: of the edition.
        precision: of the network that takes the samples.
        workers: threads.
        on_progress: called from the calling thread.
    """

    dataset: Path
    output: Path
    edition: Edition
    subset: Subset
    precision: Precision
    workers: int = 1
    on_progress: OnProgress = ignore_progress


class Data(Protocol):
    """The data set of a benchmark: its mini edition, checks, preprocessing, and the samples that come of it.

    Parts of a benchmark hold no state: everything comes in as an argument.
    """

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the mini edition whose files were listed when they were made."""

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Make the files of the mini edition (deterministic) in an empty folder and list them."""

    def verify(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check a data folder file by file against the official list; return figures.

        Raises:
            SourceError: a file is missing, truncated or not what its name says.
        """

    def preprocess(self, asked: Preprocessing) -> dict[str, object]:
        """Write the preprocessed samples of a subset; return figures (count, shape, dtype)."""

    def open(self, folder: Path) -> Samples:
        """Open what `preprocess` wrote."""


class Network(ABC):
    """The network of a benchmark: its tensors, and how it is brought into a precision."""

    is_exported = False
    """Whether the file of an edition is one that this project wrote, in the benchmark's form."""
    calibration_batch: int | None = None
    """Samples that are calibrated at a time; None: as many as fit by the size of their inputs."""

    @abstractmethod
    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the inputs of the network in this precision (an INT8 network may take INT8 samples)."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that are needed."""

    def source_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the inputs of the published part; those of the whole, unless overridden."""
        return self.inputs(precision)

    @property
    def source_outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs of the published part that are needed; those of the whole, unless overridden."""
        return self.outputs

    def adapt(self, model: ModelProto) -> ModelProto:
        """Return a published network with `source_inputs` and `source_outputs`; as it is, unless overridden.

        Raises:
            NetworkFileError: the network cannot be brought to them.
        """
        return model

    def finish(self, model: ModelProto) -> ModelProto:
        """Return a converted network with what follows the published part up to the answer: `outputs`.

        As it is, unless overridden. What is added states its own precision.
        """
        return model

    def convert(
        self, network: Path, output: Path, precision: Precision, on_progress: OnProgress
    ) -> dict[str, JsonValue] | None:
        """Write the network in a precision and return figures, where a benchmark does so in its own way.

        None, as here, if it does not: then `models.network.quantization` does it in the way of all.
        """
        del network, output, precision, on_progress
        return None

    @abstractmethod
    def random(
        self, output: Path, precision: Precision, layers: int | None, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Write the official layers with seeded random weights; the same arguments give the same bytes.

        Args:
            output: the ONNX file; large weights lie in `<output>.data` beside it.
            precision: that the network is going to be converted to.
            layers: in place of the official number, where the facts say that they can be chosen.
            on_progress: told how much is written.

        Returns:
            Figures: bytes.

        Raises:
            DiskFullError: there is not enough space.
        """

    def agreement_samples(self, edition: Edition) -> int | None:
        """Return on how many samples a converted network is compared with its source; None: the usual number.

        0 where a processor would take too long.
        """
        del edition
        return None


class Scorer(Protocol):
    """The accuracy of a benchmark."""

    metric: str
    """The first metric of the accuracy, as the round names it."""

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute the accuracy of the responses against the data set's ground truth.

        Raises:
            LogError: no entry, an index outside the data set, or bytes that are no response.
        """


class Benchmark:
    """One of the benchmarks: the facts and the four parts of a folder, each imported when it is asked for.

    Args:
        package: the folder, as a package: it has `facts.FACTS`, `data.DATA`, `network.NETWORK`,
            `answer.ANSWER` and `score.SCORER`.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self.facts = cast(Facts, import_module(f"{package}.facts").FACTS)

    @property
    def name(self) -> str:
        """Directory name in the official tree, e.g. `resnet50`."""
        return self.facts.name

    def module(self, part: Part) -> str:
        """Return the dotted name of a part's module."""
        return f"{self._package}.{part}"

    @cached_property
    def data(self) -> Data:
        """The data set."""
        return cast(Data, import_module(self.module("data")).DATA)

    @cached_property
    def network(self) -> Network:
        """The network."""
        return cast(Network, import_module(self.module("network")).NETWORK)

    @cached_property
    def answer(self) -> Answer:
        """How samples are answered."""
        return cast(Answer, import_module(self.module("answer")).ANSWER)

    @cached_property
    def scorer(self) -> Scorer:
        """How responses are scored."""
        return cast(Scorer, import_module(self.module("score")).SCORER)
