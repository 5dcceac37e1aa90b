"""The pages' frame: templates with escaping, and a policy that lets nothing run or load but what is ours."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mlperf_submission.page import text
from mlperf_submission.page.verdict import together

TEMPLATES = Path(__file__).parent / "templates"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=text.number,
        breakable=text.breakable,
        target=text.target_number,
        grouped=text.grouped,
        latency=text.latency,
        significant=text.significant,
        duration=text.duration,
        percent=text.percent,
        direction=text.direction,
        moment=text.moment,
        together=together,
    )
    return environment


@lru_cache(maxsize=8)
def _inline(name: str) -> tuple[Markup, str]:
    """Return a style sheet or script to put into the page, and its hash for the content security policy."""
    content = (TEMPLATES / name).read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return Markup(content), f"'sha256-{digest}'"  # noqa: S704 - a file of this package


def render(template: str, values: Mapping[str, Any], *, script: str | None = None) -> str:
    """Return a page: the template with its style sheet and, if it has one, its script inside."""
    style, style_hash = _inline("style.css")
    code, code_hash = _inline(script) if script else (None, "'none'")
    policy = (
        f"default-src 'none'; img-src data:; style-src {style_hash}; script-src {code_hash}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _environment().get_template(template).render(**values, style=style, script=code, policy=policy)
