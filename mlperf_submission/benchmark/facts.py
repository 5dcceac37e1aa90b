"""What is known of a benchmark before anything of it is opened: its editions, their sources and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]
Weights = Literal["trained", "random"]
"""Random: the official layers with seeded random weights, to rehearse building, memory and speed with."""
EditionName = Literal["full", "mini"]
Subset = Literal["validation", "calibration"]


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
        taken = replace(self, own=own)
        return replace(taken, urls=(taken.own_path.as_uri() if taken.own_path else own,))

    @property
    def own_path(self) -> Path | None:
        """The person's own folder or file; None if they gave an address, or nothing."""
        return Path(self.own) if self.own and "://" not in self.own else None


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
