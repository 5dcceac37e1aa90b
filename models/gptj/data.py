"""gptj-99's data: articles of CNN/DailyMail, and articles made from templates in the mini edition."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Edition, MiniListing
from mlperf_submission.benchmark.parts import Data, OnProgress, Preprocessing, Progress
from mlperf_submission.errors import SourceError
from models.gptj import text
from models.gptj.articles import articles_file, articles_of


class GptJData:
    """CNN/DailyMail; the mini edition holds short articles."""

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the made articles, their tokenizer and their network, as `make_mini` listed them."""
        from models.gptj.mini import files

        data = [name for name in listing.files if name != files.NETWORK_FILE]
        return Edition(
            "mini",
            listing.source(files.NETWORK_FILE),
            tuple(listing.source(name) for name in data),
            listing.sample_count,
            notes="short articles made from templates; never a result",
        )

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Write the articles and copy tokenizer and network; see `models.gptj.mini.files`."""
        from models.gptj.mini.files import make

        return make(folder, sample_count, on_progress)

    def verify(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check number and form of the articles; no checksum of `cnn_eval.json` is published.

        Raises:
            SourceError: the file is missing or damaged, or holds another number of articles.
        """
        items = articles_of(folder, edition, "validation")
        others = [index for index, item in enumerate(items) if item.instruction != text.INSTRUCTION]
        if others:
            raise SourceError(
                f"the instruction of item {others[0]} is {items[others[0]].instruction[:60]!r}",
                where=articles_file(folder, edition, "validation"),
                remedy=f"the official one is {text.INSTRUCTION!r}; make the file anew",
                code="data-set",
            )
        on_progress(Progress(len(items), len(items)))
        return {"articles": len(items), "characters": sum(len(item.input) for item in items)}

    def preprocess(self, asked: Preprocessing) -> dict[str, object]:
        """Build the official prompts, tokenise and cut them; see `models.gptj.text`.

        No precision of GPT-J is calibrated here, so a full edition may lack the calibration articles. The
        tokenizer works on all processors by itself.
        """
        items = articles_of(asked.dataset, asked.edition, asked.subset)
        tokenizer = text.open_tokenizer(asked.dataset)
        limit = text.prompt_limit(asked.dataset)
        return text.write_samples(items, tokenizer, asked.output, limit=limit, on_progress=asked.on_progress)

    def open(self, folder: Path) -> Samples:
        """Open the prompts, memory-mapped."""
        return text.PromptSamples(folder)


DATA: Data = GptJData()
