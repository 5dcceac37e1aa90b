"""Text and numbers as the page shows them: hostile text made harmless to look at, numbers without a guess."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

from markupsafe import Markup, escape

_NEVER_SHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufffe\uffff]")
"""Control characters, direction overrides, lone surrogates: not text, and not allowed in XML or UTF-8."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def clean(value: object) -> str:
    """Return a value of a file as text that any document can hold; what is not text becomes `�`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _NEVER_SHOWN.sub("\ufffd", str(value)).strip()


def number(value: float) -> str:
    """Return a number as the published results pages write it: shortest exact form, with a decimal point."""
    return _plain(repr(float(value)))


def target_number(value: float) -> str:
    """Return an accuracy target as the published results pages write it: four decimal places at most."""
    return number(round(value, 4))


def grouped(text: str) -> Markup:
    """Mark the thousands of a number so that the style sheet can set them apart; the text stays as it is."""
    match = re.fullmatch(r"(-?)(\d{4,})(.*)", text)
    if not match:
        return escape(text)
    sign, digits, rest = match.groups()
    first = len(digits) % 3 or 3
    groups = [digits[:first], *(digits[at : at + 3] for at in range(first, len(digits), 3))]
    marked = "".join(f'<span class="g">{group}</span>' for group in groups[1:])
    return Markup("{}{}{}{}").format(sign, groups[0], Markup(marked), rest)  # noqa: S704 - digits only


def breakable(name: str) -> Markup:
    """Let a name with underscores break after them."""
    return Markup("_<wbr>").join(name.split("_"))


def latency(nanoseconds: float) -> str:
    """Return a latency in the unit that suits it, with three or four significant digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(nanoseconds) >= size:
            return f"{significant(nanoseconds / size)} {unit}"
    return f"{nanoseconds:.0f} ns"


def significant(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    text = _plain(text)
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Return a length of time: `41.2 s`, `11 min 18 s`, `26 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a signed percentage with a real minus sign."""
    text = f"{share * 100:+.{digits}f}"
    if not text.strip("+-0."):
        text = text[1:]
    return f"{text} %".replace("-", "\u2212")


def direction(share: float, digits: int = 1) -> str:
    """Return the class that colours a signed percentage: `above`, `below`, or neither if it shows as zero."""
    shown = round(share * 100, digits)
    return "above" if shown > 0 else "below" if shown < 0 else "none"


def moment(value: datetime) -> str:
    """Return a date and time to the second, in UTC."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"


def table_cell(value: str) -> str:
    """Return text for a CSV cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _plain(text: str) -> str:
    """Return a number's text without powers of ten."""
    return f"{Decimal(text):f}" if "e" in text else text
