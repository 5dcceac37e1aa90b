"""The files of gptj's mini edition: articles in the official format, tokenizer and the committed network."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.files import disk_full_named, require_free_space, write_atomic
from models.gptj.facts import ARTICLES_FILE, CALIBRATION_FILE, MERGES_FILE, VOCABULARY_FILE
from models.gptj.mini import articles
from models.gptj.text import INSTRUCTION, LIMIT_FILE, NewsItem, as_json
from models.mini.listing import check_count, copy_committed, listing_of

NETWORK_FILE = "gptj.onnx"
PROMPT_LIMIT = 256
"""Tokens that a prompt is cut to, in place of 1,919."""
CALIBRATION_COUNT = 16
MOST_SAMPLES = 13_368
COMMITTED = {
    NETWORK_FILE: "08d92b8bd8468b53dc4959ec488086b985520fb9ef7342d517e2443c0d0f249a",
    VOCABULARY_FILE: "098d6569c810e1d2bcb9982be0bc28854c72491461e66704f74adbc51d02bc3c",
    MERGES_FILE: "6d0562995e24f976738cc5706baf44c1b0877c033fef65374ddeaf24a73dfe45",
}
"""SHA-256 of the committed files: part of the code, so that others are another version of this step."""
_BYTES_PER_ARTICLE = 2500


def news_item(article: articles.Article) -> NewsItem:
    """Return an article as an element of the data set."""
    return NewsItem(instruction=INSTRUCTION, input=article.text, output=article.highlights)


def committed_file(name: str) -> Path:
    """Return where a file of the mini edition is kept beside this module."""
    return Path(__file__).with_name(name)


def make(folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
    """Write the articles, the tokenizer and the network; the same count gives the same bytes.

    The first n samples of a larger edition are the samples of an edition of n.

    Args:
        folder: an existing, empty folder.
        sample_count: validation samples, 1 to 13,368.
        on_progress: called from this thread.

    Raises:
        SettingError: the count is out of range.
        SourceError: a committed file is not the one that belongs to this code.
        DiskFullError: there is not enough space.
    """
    check_count("gptj-99", sample_count, MOST_SAMPLES)
    require_free_space(folder, sample_count * _BYTES_PER_ARTICLE, "the mini edition of gptj-99")
    with disk_full_named(folder):
        for name, digest in COMMITTED.items():
            copy_committed(committed_file(name), digest, folder / name)
        write_atomic(folder / LIMIT_FILE, f"{PROMPT_LIMIT}\n")
        splits: tuple[tuple[str, articles.Split, int], ...] = (
            (CALIBRATION_FILE, "calibration", CALIBRATION_COUNT),
            (ARTICLES_FILE, "validation", sample_count),
        )
        for name, split, count in splits:
            content = as_json(map(news_item, articles.articles(split, count)))
            write_atomic(folder / name, content)
            on_progress(Progress(count, CALIBRATION_COUNT + sample_count))
    names = (*COMMITTED, LIMIT_FILE, CALIBRATION_FILE, ARTICLES_FILE)
    return listing_of(folder, names, sample_count)
