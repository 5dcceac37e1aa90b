"""What a benchmark is to the rest of the project: its facts, data, network, answer and score.

Each benchmark is a folder of `models/` with a module per part; `models.registry` finds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto
    from pydantic import JsonValue

Precision = Literal["fp32", "fp16", "int8"]
Weights = Literal["trained", "random"]
"""Random: the official layers with seeded random weights, to rehearse building, memory and speed with."""
EditionName = Literal["full", "mini"]
Subset = Literal["validation", "calibration"]
Part = Literal["data", "network", "answer", "score"]
"""A module of a benchmark's folder. Steps depend on the parts that they use, so that a changed score
measures nothing again."""
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Source:
    """One file of an edition, as its owner publishes it.

    Attributes:
        name: the file's name in the edition's folder.
        urls: `https://`, `http://` or `file://`; tried in this order.
        digest: `sha256:<64 hex>` or, where the owner publishes no other, `md5:<32 hex>`.
        size: bytes; None where the owner does not publish it.
        unpack: the folder (below the edition's) that an archive is unpacked into; None for a plain file.
        licence: what a person must know before using it.
        own: the person's own folder, file or address that `urls` names in place of the owner's; else empty.
    """

    name: str
    urls: tuple[str, ...]
    digest: str
    size: int | None
    unpack: str | None = None
    licence: str = ""
    own: str = ""

    def taken_from(self, own: str) -> Source:
        """Return it with an absolute path or an address of the person's in place of its owner's."""
        return replace(self, urls=(own if "://" in own else Path(own).as_uri(),), own=own)


@dataclass(frozen=True)
class LicensedFolder:
    """Data that a person has to fetch under its licence, and that is verified where it lies.

    Attributes:
        key: its name under `licensed_data` in the system file, e.g. `imagenet`. In the edition's folder it
            appears as a symbolic link of this name to the person's own folder.
        title: what to fetch, in words, with the owner's address.
    """

    key: str
    title: str


@dataclass(frozen=True)
class Edition:
    """One edition of a benchmark: where its network and data come from, and how many samples it has.

    `quantized_network` is the INT8 network of the benchmark's owner, if there is one: it is used in place of
    a calibration (MLPerf inference_rules, Quantization: MLPerf may provide an INT8 reference).
    """

    name: EditionName
    network: Source
    data: tuple[Source, ...]
    sample_count: int
    licensed: LicensedFolder | None = None
    notes: str = ""
    quantized_network: Source | None = None

    @property
    def networks(self) -> tuple[Source, ...]:
        """Every network of the edition, the FP32 one first."""
        return (self.network, self.quantized_network) if self.quantized_network else (self.network,)

    @property
    def sources(self) -> Mapping[str, Source]:
        """Every source by its name in a system file: `network`, `quantized_network`, or that of the file."""
        named = {"network": self.network} | {source.name: source for source in self.data}
        return named | ({"quantized_network": self.quantized_network} if self.quantized_network else {})

    def with_own(self, given: Mapping[str, str]) -> Edition:
        """Return it with a person's own paths or addresses in place of those of these `sources`."""
        own = {name: self.sources[name].taken_from(value) for name, value in given.items()}
        return replace(
            self,
            network=own.get("network", self.network),
            quantized_network=own.get("quantized_network", self.quantized_network),
            data=tuple(own.get(source.name, source) for source in self.data),
        )

    def network_for(self, precision: Precision) -> Source:
        """Return the network that this precision starts from."""
        return self.networks[-1] if precision == "int8" else self.network


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
class Responses:
    """The response bytes of a batch, in the order of its sample indices, in one piece of memory.

    Attributes:
        data: uint8, contiguous.
        offsets: int64, one more than there are samples; sample i is `data[offsets[i]:offsets[i + 1]]`.
        token_counts: int64 per sample where the round counts tokens, else None.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    token_counts: NDArray[np.int64] | None = None

    @staticmethod
    def from_rows(rows: NDArray[np.generic]) -> Responses:
        """Responses of equal length: row i (any dtype, any shape) is the response of sample i."""
        rows = np.ascontiguousarray(rows)
        size = rows.nbytes // max(len(rows), 1)
        return Responses(
            rows.reshape(-1).view(np.uint8), np.arange(len(rows) + 1, dtype=np.int64) * np.int64(size)
        )


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


class Samples(ABC):
    """Preprocessed samples, opened read-only; memory-mapped, so opening is cheap."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @property
    def costs(self) -> NDArray[np.int64] | None:
        """What each sample costs, in any unit; None: all the same.

        Samples of like cost are batched together, e.g. sequences of like length.
        """
        return None


class StackedSamples(Samples):
    """Samples of one shape: a batch is their rows, so they can be resident where the network reads them."""

    @abstractmethod
    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return the network's inputs for these samples, stacked along the batch dimension."""


class Session(Protocol):
    """A compiled network on one stream of one device."""

    @property
    def batch_size(self) -> int:
        """The largest batch that `infer` takes."""

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch; the batch is the first dimension of every input and output.

        A network's input `past.X` with an output `present.X` is a state that the session keeps from call to
        call, in one buffer of `batch_size` rows: neither is given or returned. The batch has the rows from
        `first_row` on; without a state that number does not matter.
        """


class ShapedSession(Session, Protocol):
    """A session that tells the sizes that its network fixes."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[object, ...]]:
        """Shape of each input with its batch; what is no number is free."""


@dataclass(frozen=True)
class LoopStep:
    """What a step of a `SampleLoop` brought about; samples are named by their ids.

    Attributes:
        finished: samples whose answer is complete.
        responses: theirs, in the same order; may lie in memory that the next step overwrites.
        begun: samples whose first token is there now.
        first_tokens: theirs, int32.
    """

    finished: list[int]
    responses: Responses
    begun: list[int] = field(default_factory=list)
    first_tokens: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))


class SampleLoop(Protocol):
    """Answers samples on one session step by step: each enters when there is room, and leaves when done.

    Used by one thread. Answers do not depend on which samples share a step.
    """

    @property
    def room(self) -> int:
        """How many samples may enter now."""

    @property
    def is_idle(self) -> bool:
        """Whether no sample is being worked on."""

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Let samples enter, at most as many as there is room for; an id is any number of the caller's."""

    def step(self) -> LoopStep:
        """Do the next piece of work, about one batch of the network; not when idle."""


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
class MiniListing:
    """The files of a mini edition as they were made: name to (size, SHA-256), and the number of samples."""

    files: Mapping[str, tuple[int, str]]
    sample_count: int
    base_url: str = field(default="")

    def source(self, name: str, unpack: str | None = None) -> Source:
        """Return one of the files as a source; `unpack` is the folder that an archive is unpacked into."""
        size, sha256 = self.files[name]
        return Source(name, (f"{self.base_url.rstrip('/')}/{name}",), f"sha256:{sha256}", size, unpack)


@dataclass(frozen=True)
class Libraries:
    """Distributions whose behaviour is part of what a stage makes; their versions are part of its step's key.

    NumPy is part of every stage, ONNX and ONNX Runtime of every conversion: they are not named here.

    Attributes:
        make_mini: of the files of the mini edition.
        preprocess: of the samples.
        score: of the accuracy.
    """

    make_mini: tuple[str, ...] = ()
    preprocess: tuple[str, ...] = ()
    score: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """How large the official edition is, as far as it is known: its owners publish few sizes.

    Attributes:
        network: bytes of what is downloaded for the network; `network_source` says from what that follows.
        converted: bytes of the network in the precision that runs, and of its engine, at most.
        sample_values: numbers in a preprocessed sample; `sample_source` says from what that follows.
        response: bytes of a response, at most; None where they vary too much to be said.
        mini_sample_values: the same of a mini edition; None where that chooses its own.
        converting: bytes of host memory at the peak of conversion and building the engine, whichever takes
            more; `converting_source` says how they are known.
        state: bytes that the network keeps on the device for each row of a batch.
        free: the largest size of the free dimensions of its inputs and outputs, beside the batch.
    """

    network: int
    network_source: str
    converted: int
    sample_values: int
    sample_source: str
    response: int | None
    mini_sample_values: int | None
    converting: int
    converting_source: str
    state: int = 0
    free: int = 1


@dataclass(frozen=True)
class Facts:
    """What is known of a benchmark before anything of it is opened.

    Attributes:
        name: its directory in the official tree, e.g. `3d-unet-99`.
        full: the official data set and network, with their sources and checksums.
        sizes: of the full edition.
        libraries: what it uses beside NumPy, by stage.
        layers: how many layers of its random network can be chosen; None: they cannot.
    """

    name: str
    full: Edition
    sizes: Sizes
    libraries: Libraries
    layers: int | None = None


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

    def preprocess(
        self,
        dataset: Path,
        output: Path,
        *,
        edition: Edition,
        subset: Subset,
        precision: Precision,
        workers: int,
        on_progress: OnProgress,
    ) -> dict[str, object]:
        """Write the preprocessed samples of a subset into `output`; return figures (count, shape, dtype)."""

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


class BatchAnswer(ABC):
    """Samples are answered in batches that are finished together."""

    response_dtype: str
    """NumPy dtype of a response, for TEST01's comparison."""

    @abstractmethod
    def inputs(
        self, samples: Samples, indices: NDArray[np.int64], shapes: Mapping[str, tuple[object, ...]]
    ) -> Arrays:
        """Return the network's inputs for a batch; `shapes` are a session's `input_shapes`."""

    @abstractmethod
    def respond(self, outputs: Arrays, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Turn the network's outputs for a batch into response bytes."""

    def batch(self, session: ShapedSession, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Answer one batch of samples on a session."""
        outputs = session.infer(self.inputs(samples, indices, session.input_shapes))
        return self.respond(outputs, samples, indices)


class StackedAnswer(BatchAnswer):
    """Batches of samples of one shape, whose rows are what the network takes."""

    def inputs(
        self, samples: Samples, indices: NDArray[np.int64], shapes: Mapping[str, tuple[object, ...]]
    ) -> Arrays:
        """Return the samples' rows."""
        del shapes
        return cast(StackedSamples, samples).rows(indices)


class LoopAnswer(ABC):
    """Samples are answered by a loop that they enter one by one and leave when they are done."""

    response_dtype: str
    """As of a `BatchAnswer`."""

    @abstractmethod
    def open(self, session: Session, samples: Samples) -> SampleLoop:
        """Return a loop over a session."""


Answer = BatchAnswer | LoopAnswer


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
