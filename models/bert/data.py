"""bert-99's data: SQuAD v1.1, and facts about invented people in the mini edition."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Edition, MiniListing
from mlperf_submission.benchmark.parts import Data, OnProgress, Preprocessing, Progress
from models.bert.facts import MINI_CALIBRATION_FILE, NETWORK_FILE, QUESTIONS_FILE, VOCABULARY_FILE
from models.bert.features import features
from models.bert.questions import read_questions
from models.bert.samples import SquadSamples, write_samples
from models.bert.squad import read_squad
from models.bert.wordpiece import WordPiece

_CALIBRATION_LIST = Path(__file__).with_name("calibration.txt")
"""calibration/SQuAD-v1.1/bert_calibration_features.txt: indices of features of the validation set."""


class Bert99Data:
    """SQuAD v1.1; a sample is a window over a text with its question (a feature)."""

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
        """Generate the questions and copy the network; see `models.bert.mini.files`."""
        from models.bert.mini.files import make

        return make(folder, sample_count, on_progress)

    def verify(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Read every question, and count questions and windows."""
        found, questions, _ = read_questions(folder, edition)
        on_progress(Progress(len(found), len(found)))
        return {"questions": len(questions), "features": len(found)}

    def preprocess(self, asked: Preprocessing) -> dict[str, object]:
        """Tokenise and cut into windows; see `models.bert.features` and `models.bert.samples`.

        The precision does not matter: samples are token ids.
        """
        if asked.subset == "validation":
            found, _, _ = read_questions(asked.dataset, asked.edition)
        elif asked.edition.name == "mini":
            tokenizer = WordPiece(asked.dataset / VOCABULARY_FILE)
            found = [*features(read_squad(asked.dataset / MINI_CALIBRATION_FILE), tokenizer)]
        else:
            whole, _, _ = read_questions(asked.dataset, asked.edition)
            found = [whole[int(index)] for index in _CALIBRATION_LIST.read_text().split()]
        return write_samples(found, asked.output, len(found), asked.on_progress)

    def open(self, folder: Path) -> Samples:
        """Open what `preprocess` wrote."""
        return SquadSamples(folder)


DATA: Data = Bert99Data()
