"""The articles of a subset: read for preprocessing, and again for the score."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.facts import Edition, Subset
from mlperf_submission.errors import SourceError
from models.gptj.facts import ARTICLES_FILE, CALIBRATION_FILE
from models.gptj.text import NewsItem, read_items


def articles_file(folder: Path, edition: Edition, subset: Subset) -> Path:
    """Return the file of a subset; a person's own folder holds it where the data set is licensed."""
    name = ARTICLES_FILE if subset == "validation" else CALIBRATION_FILE
    return folder / edition.licensed.key / name if edition.licensed else folder / name


def articles_of(folder: Path, edition: Edition, subset: Subset) -> list[NewsItem]:
    """Return the articles; a full edition may lack those of the calibration, which no precision here uses.

    Raises:
        SourceError: the file is missing or damaged, or holds another number of articles.
    """
    path = articles_file(folder, edition, subset)
    if subset == "calibration":
        return read_items(path) if path.exists() or edition.name == "mini" else []
    items = read_items(path)
    if len(items) != edition.sample_count:
        raise SourceError(
            f"there are {len(items)} articles, not {edition.sample_count}",
            where=path,
            remedy="make the file anew; the subset of another script or split does not count",
            code="data-set",
        )
    return items
