"""bert-99: questions on texts, SQuAD v1.1, answered by BERT-Large.

Facts from MLPerf Inference v4.1, language/bert (README.md, Makefile, squad_QSL.py, accuracy-squad.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from common.errors import LogError, SourceError
from models.benchmark import (
    AccuracyEntry,
    Arrays,
    Benchmark,
    Edition,
    Libraries,
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
from models.squad import Question, read_squad
from models.squad_answers import answers_of, evaluate
from models.squad_features import MAX_SEQUENCE, Feature, features
from models.squad_samples import IDS, MASK, SEGMENTS, SquadSamples, write_samples
from models.wordpiece import WordPiece

START, END = "output_start_logits", "output_end_logits"
NETWORK_FILE, QUESTIONS_FILE, VOCABULARY_FILE = "bert.onnx", "dev-v1.1.json", "vocab.txt"
MINI_CALIBRATION_FILE = "calibration-v1.1.json"
LOGITS_PER_PIECE = 2
_INT8_NAMES = {"attention_mask": MASK, "token_type_ids": SEGMENTS}
"""Inputs of the fake-quant network (onnxruntime_SUT.py) and what the FP32 network calls them."""
_SAMPLES = 10_833
_CALIBRATION_LIST = Path(__file__).with_name("squad_calibration.txt")
"""calibration/SQuAD-v1.1/bert_calibration_features.txt: indices of features of the validation set."""
_NETWORK = Source(
    name=NETWORK_FILE,
    urls=("https://zenodo.org/record/3733910/files/model.onnx", "https://armi.in/files/model.onnx"),
    digest="md5:819b25b19cd8e59080c10892689750ca",
    size=None,
)
_INT8_NETWORK = Source(
    name="bert_large_v1_1_fake_quant.onnx",
    urls=(
        "https://zenodo.org/record/3750364/files/bert_large_v1_1_fake_quant.onnx",
        "https://armi.in/files/bert_large_v1_1_fake_quant.onnx",
        "https://mlperf-public.s3.us-west-2.amazonaws.com/bert_large_v1_1_fake_quant.onnx",
    ),
    digest="md5:45f88ffb2915362242703c85c38ec2d4",
    size=None,
)
_QUESTIONS = Source(
    name=QUESTIONS_FILE,
    urls=("https://github.com/rajpurkar/SQuAD-explorer/raw/master/dataset/dev-v1.1.json",),
    digest="md5:3e85deb501d4e538b6bc56f786231552",
    size=None,
    licence="CC BY-SA 4.0",
)
_VOCABULARY = Source(
    name=VOCABULARY_FILE,
    urls=("https://zenodo.org/record/3733868/files/vocab.txt",),
    digest="md5:64800d5d8528ce344256daf115d4965e",
    size=None,
)


class Bert99(Benchmark):
    """BERT-Large on SQuAD v1.1; the mini edition is a small encoder on facts about invented people.

    A sample is a window over a text with its question (a feature), counted as the reference makes them.
    """

    name = "bert-99"
    inputs = tuple(
        TensorSpec(one, "int64", (None, MAX_SEQUENCE), variable_axes=(1,)) for one in (IDS, MASK, SEGMENTS)
    )
    outputs = tuple(
        TensorSpec(one, "float32", (None, MAX_SEQUENCE), variable_axes=(1,)) for one in (START, END)
    )
    response_dtype = "float32"
    metric = "F1"
    libraries = Libraries(make_mini=("tokenizers",), preprocess=("tokenizers",), score=("tokenizers",))
    calibration_batch = 4

    def full_edition(self) -> Edition:
        """Return the official networks (FP32, and INT8 by its owner), questions and vocabulary."""
        return Edition("full", _NETWORK, (_QUESTIONS, _VOCABULARY), _SAMPLES, quantized_network=_INT8_NETWORK)

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the generated questions, their vocabulary and network, as `make_mini` listed them."""
        names = (QUESTIONS_FILE, MINI_CALIBRATION_FILE, VOCABULARY_FILE)
        return Edition(
            "mini",
            listing.source(NETWORK_FILE),
            tuple(listing.source(name) for name in names),
            listing.sample_count,
            notes="generated facts about invented people; never a result",
        )

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Generate the questions and copy the network; see `models.mini.bert_files`."""
        from models.mini import bert_files

        return bert_files.make(folder, sample_count, on_progress)

    def verify_dataset(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Read every question, and count questions and windows."""
        found, questions, _ = self._read(folder, edition, QUESTIONS_FILE)
        on_progress(Progress(len(found), len(found)))
        return {"questions": len(questions), "features": len(found)}

    def preprocess(
        self,
        dataset: Path,
        output: Path,
        *,
        edition: Edition,
        subset: Subset,
        precision: Precision,  # noqa: ARG002
        workers: int,  # noqa: ARG002
        on_progress: OnProgress,
    ) -> dict[str, object]:
        """Tokenise and cut into windows; see `models.squad_features` and `models.squad_samples`.

        The precision does not matter: samples are token ids.
        """
        if subset == "validation":
            found, _, _ = self._read(dataset, edition, QUESTIONS_FILE)
        elif edition.name == "mini":
            tokenizer = WordPiece(dataset / VOCABULARY_FILE)
            found = [*features(read_squad(dataset / MINI_CALIBRATION_FILE), tokenizer)]
        else:
            whole, _, _ = self._read(dataset, edition, QUESTIONS_FILE)
            found = [whole[int(index)] for index in _CALIBRATION_LIST.read_text().split()]
        return write_samples(found, output, len(found), on_progress)

    def open_samples(self, folder: Path) -> SquadSamples:
        """Open what `preprocess` wrote."""
        return SquadSamples(folder)

    def network_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:  # noqa: ARG002
        """Return the inputs: the same token ids in every precision."""
        return self.inputs

    def adapt(self, model: ModelProto) -> ModelProto:
        """Give the published INT8 network the input names of the FP32 one."""
        names = {value.name for value in model.graph.input}
        for old, new in _INT8_NAMES.items():
            if old not in names or new in names:
                continue
            for value in model.graph.input:
                value.name = new if value.name == old else value.name
            for node in model.graph.node:
                for position, name in enumerate(node.input):
                    if name == old:
                        node.input[position] = new
        return model

    def run_batch(self, session: Session, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Answer a batch padded to its longest sample, or to 384 where the network knows no other length.

        A response has the true length of its sample (accuracy-squad.py takes shorter ones).
        """
        windows = cast("SquadSamples", samples)
        shapes: Mapping[str, tuple[object, ...]] = getattr(session, "input_shapes", {})
        length = shapes[IDS][1] if IDS in shapes else None
        outputs = session.infer(windows.gather(indices, length if isinstance(length, int) else None))
        return _responses(outputs, windows.lengths(indices))

    def respond(self, outputs: Arrays, indices: NDArray[np.int64]) -> Responses:
        """Return the logits of all positions: start and end in turn, float32."""
        return _responses(outputs, np.full(len(indices), outputs[START].shape[1], np.int64))

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute exact match and F1 as accuracy-squad.py does: the last entry of an index counts.

        The divisor is the number of questions, whether they were answered or not.

        Raises:
            LogError: no entry, an index outside the data set, or a response that is no pairs of logits.
            SourceError: questions or vocabulary cannot be read.
        """
        found, questions, tokenizer = self._read(dataset, edition, QUESTIONS_FILE)
        responses: dict[int, NDArray[np.float32]] = {}
        for entry in entries:
            if not 0 <= entry.qsl_idx < len(found):
                raise _bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(found)} samples")
            size = len(entry.data)
            if size % 8 or size > 8 * MAX_SEQUENCE or not size:
                raise _bad_log(
                    f"the response of sample {entry.qsl_idx} has {size} bytes, not 8 for each of up to "
                    f"{MAX_SEQUENCE} positions"
                )
            responses[entry.qsl_idx] = np.frombuffer(entry.data, "<f4").reshape(-1, LOGITS_PER_PIECE)
        if not responses:
            raise _bad_log("the log holds no response")
        answers = answers_of(_answered(found, responses), tokenizer)
        result = evaluate(questions, answers)
        line = json.dumps({"exact_match": result.exact_match, "f1": result.f1})
        metrics = {self.metric: result.f1, "exact_match": result.exact_match}
        return Score(metrics, (line,), len(responses))

    def _read(
        self, dataset: Path, edition: Edition, name: str
    ) -> tuple[list[Feature], list[Question], WordPiece]:
        tokenizer = WordPiece(dataset / VOCABULARY_FILE)
        paragraphs = read_squad(dataset / name)
        found = [*features(paragraphs, tokenizer)]
        if len(found) != edition.sample_count:
            raise SourceError(
                f"the questions make {len(found)} samples, but the edition has {edition.sample_count}",
                where=dataset / name,
                remedy="fetch the questions and the vocabulary anew from their sources",
            )
        return found, [one for paragraph in paragraphs for one in paragraph.questions], tokenizer


def _responses(outputs: Arrays, lengths: NDArray[np.int64]) -> Responses:
    pairs = np.stack((outputs[START], outputs[END]), axis=-1).astype("<f4", copy=False)
    kept = np.arange(pairs.shape[1]) < lengths[:, None]
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths * (LOGITS_PER_PIECE * pairs.itemsize), out=offsets[1:])
    return Responses(np.ascontiguousarray(pairs[kept]).reshape(-1).view(np.uint8), offsets)


def _answered(
    found: list[Feature], responses: dict[int, NDArray[np.float32]]
) -> Iterator[tuple[Feature, NDArray[np.float32], NDArray[np.float32]]]:
    for index in sorted(responses):
        logits = responses[index]
        yield found[index], logits[:, 0], logits[:, 1]


_bad_log = partial(
    LogError,
    where="mlperf_log_accuracy.json",
    remedy="repeat the accuracy run of this benchmark and scenario",
)
