"""Addresses on a page: files of the tree, objects in S3, and what others gave us (little trusted)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from mlperf_submission.page.data import Place
from mlperf_submission.page.evidence import PageEvidence
from mlperf_submission.page.text import clean


def safe_href(address: str) -> str | None:
    """Return an address that a browser may open: http, https or relative; None for every other."""
    address = clean(address)
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme in ("http", "https") and parts.netloc:
        return address
    if not parts.scheme and not parts.netloc and address and ":" not in address.split("/")[0]:
        return address
    return None


@dataclass(frozen=True)
class Links:
    """Where the files of a tree are reached from a page."""

    tree: str
    s3_address: str

    @staticmethod
    def of(tree: Path, out: Path, evidence: PageEvidence | None) -> Links:
        """Return the links of a page in folder `out`."""
        if evidence and evidence.tree_link is not None:
            base = safe_href(evidence.tree_link) or "."
        else:
            base = quote(os.path.relpath(tree.resolve(), out.resolve()))
        return Links(base.rstrip("/"), clean(evidence.s3_address).rstrip("/") if evidence else "")

    def href(self, place: Place) -> str:
        """Return the link to a file; browsers that know text fragments show the key at once."""
        fragment = f"#:~:text={quote(place.key, safe='')}" if place.key else ""
        return f"{self.tree}/{quote(place.path)}{fragment}"

    def s3(self, place: Place) -> str:
        """Return the S3 address of a file; empty if the tree was not uploaded."""
        return f"{self.s3_address}/{clean(place.path)}" if self.s3_address else ""
