"""gptj-99: summarisation of CNN/DailyMail articles by GPT-J 6B.

Facts from MLPerf Inference v4.1, language/gpt-j (README.md, dataset.py, backend_PyTorch.py, evaluation.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from common.errors import SettingError, SourceError
from models import gptj_decoder, gptj_search, gptj_text
from models.benchmark import (
    AccuracyEntry,
    Arrays,
    Benchmark,
    Edition,
    Libraries,
    LicensedFolder,
    LoopStep,
    MiniListing,
    OnProgress,
    Precision,
    Progress,
    Responses,
    Samples,
    Score,
    Session,
    Source,
    Subset,
    TensorSpec,
)

SAMPLES = 13_368
LEAST_TOKENS = 2
"""A shorter response is filled up with end tokens (as NVIDIA's harness of v4.1 does)."""
MINI_AGREEMENT_SAMPLES = 32
_ARTICLES = LicensedFolder(
    key="cnn_dailymail",
    title="the validation split of CNN/DailyMail 3.0.0 (13,368 articles): run language/gpt-j/"
    "download_cnndm.py of https://github.com/mlcommons/inference at v4.1, which writes data/cnn_eval.json",
)
_CHECKPOINT = Source(
    name="checkpoint.zip",
    urls=("https://cloud.mlcommons.org/index.php/s/QAZ2oM94MkFtbQx/download",),
    digest="md5:e677e28aaf03da84584bb3073b7ee315",
    size=None,
    unpack="checkpoint",
    licence="GPT-J 6B, fine-tuned by MLCommons (Apache 2.0)",
)
_GPT2 = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
_TOKENIZER = (
    Source(
        name=gptj_text.VOCABULARY_FILE,
        urls=(
            f"{_GPT2}/encoder.json",
            "https://huggingface.co/openai-community/gpt2/resolve/main/vocab.json",
        ),
        digest="sha256:196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        size=1_042_301,
    ),
    Source(
        name=gptj_text.MERGES_FILE,
        urls=(f"{_GPT2}/vocab.bpe", "https://huggingface.co/openai-community/gpt2/resolve/main/merges.txt"),
        digest="sha256:1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        size=456_318,
    ),
)
"""GPT-J's tokenizer is GPT-2's."""


class GptJ(Benchmark):
    """GPT-J 6B on CNN/DailyMail; the mini edition is a small decoder on articles made from templates."""

    name = "gptj-99"
    inputs = gptj_decoder.INPUTS
    outputs = gptj_decoder.OUTPUTS
    response_dtype = "int32"
    metric = "ROUGE1"
    libraries = Libraries(preprocess=("tokenizers",), score=("nltk", "rouge-score", "tokenizers"))
    has_loop = True
    """Searches take unequally long: a request enters as soon as another leaves (in-flight batching)."""

    def full_edition(self) -> Edition:
        """Return the official checkpoint, GPT-2's tokenizer, and the folder that a person has to provide.

        There is no official ONNX network: `convert` exports the checkpoint.
        """
        return Edition(
            "full",
            _CHECKPOINT,
            _TOKENIZER,
            SAMPLES,
            _ARTICLES,
            notes="the archive's MD5 is listed by MLCommons' automation, but marked as unused",
        )

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the made articles, their tokenizer and their network, as `make_mini` listed them."""
        from models.mini import gptj_files

        data = [name for name in listing.files if name != gptj_files.NETWORK_FILE]
        return Edition(
            "mini",
            listing.source(gptj_files.NETWORK_FILE),
            tuple(listing.source(name) for name in data),
            listing.sample_count,
            notes="short articles made from templates; never a result",
        )

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Write the articles and copy tokenizer and network; see `models.mini.gptj_files`."""
        from models.mini import gptj_files

        return gptj_files.make(folder, sample_count, on_progress)

    def verify_dataset(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check number and form of the articles; no checksum of `cnn_eval.json` is published.

        Raises:
            SourceError: the file is missing or damaged, or holds another number of articles.
        """
        items = _items(folder, edition, "validation")
        others = [index for index, item in enumerate(items) if item.instruction != gptj_text.INSTRUCTION]
        if others:
            raise SourceError(
                f"the instruction of item {others[0]} is {items[others[0]].instruction[:60]!r}",
                where=_file(folder, edition, "validation"),
                remedy=f"the official one is {gptj_text.INSTRUCTION!r}; make the file anew",
            )
        on_progress(Progress(len(items), len(items)))
        return {"articles": len(items), "characters": sum(len(item.input) for item in items)}

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
        """Build the official prompts, tokenise and cut them; see `models.gptj_text`.

        No precision of GPT-J is calibrated here, so a full edition may lack the calibration articles.
        """
        del precision, workers  # the tokenizer works on all processors by itself
        items = _items(dataset, edition, subset)
        tokenizer = gptj_text.open_tokenizer(dataset)
        limit = gptj_text.prompt_limit(dataset)
        return gptj_text.write_samples(items, tokenizer, output, limit=limit, on_progress=on_progress)

    def open_samples(self, folder: Path) -> Samples:
        """Open the prompts, memory-mapped."""
        return gptj_text.PromptSamples(folder)

    def network_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the inputs beside the cache, the same in every precision."""
        del precision
        return gptj_decoder.INPUTS

    def convert(
        self, network: Path, output: Path, precision: Precision, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Export the official checkpoint, or write a network of ours anew, tensor by tensor.

        Args:
            network: an ONNX file of this project, or the folder that the checkpoint was unpacked into.
            output: the ONNX file; large weights lie in `<output>.data`.
            precision: `fp16` or `fp32`.
            on_progress: told how many tensors are written.

        Raises:
            NetworkFileError: no network of ours, or a precision that there is not.
            SourceError: the checkpoint is damaged or not GPT-J's.
        """
        from models import gptj_export
        from models.gptj_checkpoint import Checkpoint

        if network.is_dir():
            checkpoint = Checkpoint(network)
            return gptj_export.write_network(
                output, checkpoint.shape(), checkpoint, precision, on_progress=on_progress
            )
        shape, weights = gptj_export.weights_of(network)
        return gptj_export.write_network(output, shape, weights, precision, on_progress=on_progress)

    def agreement_samples(self, edition: Edition) -> int | None:
        """Return few samples, and none for 6B, which a processor would take days for."""
        return MINI_AGREEMENT_SAMPLES if edition.name == "mini" else 0

    def run_batch(self, session: Session, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Search the summaries of a batch; see `models.gptj_search`.

        Raises:
            SettingError: these are not samples of this benchmark.
        """
        prompts = _prompts(samples)
        settings = gptj_search.SearchSettings(end=prompts.facts.end)
        return _responses(gptj_search.search(session, prompts.prompts(indices), settings), settings.end)

    def open_loop(self, session: Session, samples: Samples) -> SummaryLoop:
        """Return a loop with a slot for each row of the session's cache.

        Raises:
            SettingError: these are not samples of this benchmark.
        """
        return SummaryLoop(session, _prompts(samples))

    def respond(self, outputs: Arrays, indices: NDArray[np.int64]) -> Responses:
        """Return the tokens of each summary as little-endian int32, at least two.

        Args:
            outputs: `summaries` (int32, samples × at least two tokens, padded with the end token) and
                `lengths` (int64).
            indices: of the samples; their order is that of the rows.
        """
        del indices
        lengths = np.maximum(outputs["lengths"].astype(np.int64), LEAST_TOKENS)
        kept = np.arange(outputs["summaries"].shape[1]) < lengths[:, None]
        tokens = outputs["summaries"].astype("<i4")[kept]
        offsets = np.concatenate(([0], np.cumsum(4 * lengths))).astype(np.int64)
        return Responses(tokens.view(np.uint8), offsets, token_counts=lengths)

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute ROUGE and GEN_LEN; see `models.gptj_score`."""
        from models import gptj_score

        targets = [item.output for item in _items(dataset, edition, "validation")]
        return gptj_score.score(entries, targets, gptj_text.open_tokenizer(dataset))


class SummaryLoop:
    """In-flight batching: a request takes a slot of the decoder's cache as soon as another has left it."""

    def __init__(self, session: Session, samples: gptj_text.PromptSamples) -> None:
        self._samples = samples
        self._end = samples.facts.end
        settings = gptj_search.SearchSettings(end=self._end)
        self._slots = gptj_search.BeamSlots(session, session.batch_size, settings)
        self._ids = [0] * session.batch_size

    @property
    def room(self) -> int:
        """How many slots are free."""
        return self._slots.free

    @property
    def is_idle(self) -> bool:
        """Whether all of them are."""
        return self._slots.is_idle

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Give each request a slot; its prompt is read in one of the next steps."""
        for id_, prompt in zip(ids, self._samples.prompts(indices), strict=True):
            self._ids[self._slots.enter(prompt)] = id_

    def step(self) -> LoopStep:
        """Read a prompt, or take all searches one token further."""
        step = self._slots.step()
        begun = [] if step.begun is None else [self._ids[step.begun[0]]]
        first = [] if step.begun is None else [step.begun[1]]
        return LoopStep(
            [self._ids[slot] for slot, _ in step.ended],
            _responses([tokens for _, tokens in step.ended], self._end),
            begun,
            np.array(first, np.int32),
        )


def _prompts(samples: Samples) -> gptj_text.PromptSamples:
    if not isinstance(samples, gptj_text.PromptSamples):
        raise SettingError("gptj-99 needs its own samples", remedy="preprocess them with this benchmark")
    return samples


def _responses(summaries: Sequence[gptj_search.Tokens], end: int) -> Responses:
    """Return the tokens of each summary as little-endian int32, filled up with end tokens to two."""
    filler = [end] * LEAST_TOKENS
    parts = [np.append(one, filler[len(one) :]).astype("<i4") for one in summaries]
    lengths = np.array([len(one) for one in parts], np.int64)
    tokens = np.concatenate([np.empty(0, "<i4"), *parts])
    offsets = np.concatenate(([0], np.cumsum(4 * lengths))).astype(np.int64)
    return Responses(tokens.view(np.uint8), offsets, token_counts=lengths)


def _file(folder: Path, edition: Edition, subset: Subset) -> Path:
    name = gptj_text.ARTICLES_FILE if subset == "validation" else gptj_text.CALIBRATION_FILE
    return folder / edition.licensed.key / name if edition.licensed else folder / name


def _items(folder: Path, edition: Edition, subset: Subset) -> list[gptj_text.NewsItem]:
    path = _file(folder, edition, subset)
    if subset == "calibration":
        return gptj_text.read_items(path) if path.exists() or edition.name == "mini" else []
    items = gptj_text.read_items(path)
    if len(items) != edition.sample_count:
        raise SourceError(
            f"there are {len(items)} articles, not {edition.sample_count}",
            where=path,
            remedy="make the file anew; the subset of another script or split does not count",
        )
    return items
