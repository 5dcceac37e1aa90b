"""ROUGE and GEN_LEN of gptj-99, as language/gpt-j/evaluation.py of MLPerf Inference v4.1 computes them.

The reference splits texts into sentences with NLTK's Punkt and its English data, which can only be
downloaded. Here Punkt's rules run without that data, with a short list of abbreviations. The difference:
ROUGE-1, ROUGE-2 and ROUGE-L do not see sentences at all. GEN_LEN counts characters after white space between
sentences became one line break, so it can differ only where a summary has two or more white-space characters
behind a sentence that the one splits and the other does not. ROUGE-Lsum, which no rule reads, can differ
where a sentence ends in another place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import AccuracyEntry, Score, Scorer
from models.gptj.articles import articles_of
from models.gptj.text import open_tokenizer
from models.scoring import bad_log

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer
    from tokenizers import Tokenizer

RESPONSE_DTYPE = "<i4"
KEYS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
METRICS = {"ROUGE1": "rouge1", "ROUGE2": "rouge2", "ROUGEL": "rougeL", "GEN_LEN": "gen_len"}
"""The round's names of the metrics, and those of the official script."""
_CLEANED = {
    " .": ".",
    " ?": "?",
    " !": "!",
    " ,": ",",
    " ' ": "'",
    " n't": "n't",
    " 'm": "'m",
    " 's": "'s",
    " 've": "'ve",
    " 're": "'re",
}
"""What `batch_decode` of transformers 4 replaces in decoded text, in this order (its default,
clean_up_tokenization_spaces; the reference leaves it alone). CNN/DailyMail ends its sentences with " .", so
GEN_LEN depends on it."""
_ABBREVIATIONS = (
    "dr e.g gen gov i.e inc jr lt ltd mr mrs ms no prof rep rev sen sgt sr st u.k u.n u.s vs a.m p.m "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)


def score(entries: Iterable[AccuracyEntry], targets: Sequence[str], tokenizer: Tokenizer) -> Score:
    """Score responses; the first entry of a sample counts.

    Args:
        entries: of the accuracy log; a response is int32 token ids.
        targets: the highlights of every sample of the data set.
        tokenizer: turns the ids into text.

    Returns:
        The metrics (ROUGE in percent with four digits, GEN_LEN in characters) and the official line.

    Raises:
        LogError: no entry, an index outside the data set, or bytes that are no tokens of the vocabulary.
    """
    chosen: dict[int, list[int]] = {}
    size = tokenizer.get_vocab_size()
    for entry in entries:
        if not 0 <= entry.qsl_idx < len(targets):
            raise bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(targets)} samples")
        if entry.qsl_idx in chosen:
            continue
        if len(entry.data) % 4 or not entry.data:
            raise bad_log(f"the response of sample {entry.qsl_idx} has {len(entry.data)} bytes")
        ids = np.frombuffer(entry.data, RESPONSE_DTYPE)
        if ids.min() < 0:
            raise bad_log(f"the response of sample {entry.qsl_idx} holds the token {ids.min()}")
        # Rows of the head beyond the vocabulary have no text.
        chosen[entry.qsl_idx] = ids[ids < size].tolist()
    if not chosen:
        raise bad_log("the log holds no response")
    splitter = sentence_splitter()
    decoded = tokenizer.decode_batch(list(chosen.values()), skip_special_tokens=True)
    predictions = [clean_spaces(text) for text in decoded]
    pairs = [
        (split_sentences(prediction, splitter), split_sentences(targets[index], splitter))
        for index, prediction in zip(chosen, predictions, strict=True)
    ]
    values: dict[str, float] = _rouge(pairs)
    length = sum(len(prediction) for prediction, _ in pairs)
    line = {**values, "gen_len": length, "gen_num": len(pairs)}
    metrics = {name: float(line[key]) for name, key in METRICS.items()}
    return Score(metrics, ("", "Results", "", str(line)), len(pairs))


def clean_spaces(text: str) -> str:
    """Return a decoded text without the spaces before punctuation and contractions."""
    for found, wanted in _CLEANED.items():
        text = text.replace(found, wanted)
    return text


def sentence_splitter() -> PunktSentenceTokenizer:
    """Return Punkt without its trained data, with the commonest abbreviations."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(_ABBREVIATIONS.split())
    return PunktSentenceTokenizer(parameters)


def split_sentences(text: str, splitter: PunktSentenceTokenizer) -> str:
    """Return a text without white space around it, one sentence per line."""
    return "\n".join(splitter.tokenize(text.strip()))


def _rouge(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return the mean F-measures in percent, rounded to four digits."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KEYS), use_stemmer=True)
    found = [scorer.score(target, prediction) for prediction, target in pairs]
    return {key: round(float(np.mean([one[key].fmeasure for one in found])) * 100, 4) for key in KEYS}


class Rouge:
    """ROUGE-1 of the summaries, in percent."""

    metric = "ROUGE1"

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute ROUGE and GEN_LEN; see `score`."""
        targets = [item.output for item in articles_of(dataset, edition, "validation")]
        return score(entries, targets, open_tokenizer(dataset))


SCORER: Scorer = Rouge()
