"""A small drawing in SVG, built as a tree, so that it is well-formed whatever text goes in.

Colours come from the page's style sheet through class names: the same picture serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree import ElementTree

from markupsafe import Markup

from mlperf_submission.page.text import clean


class Drawing:
    """One picture with a title and a description for screen readers. Units are CSS pixels at full size."""

    def __init__(self, name: str, width: float, height: float, title: str, summary: str) -> None:
        """Begin a picture; `name` must be unique in the page."""
        self.width, self.height = width, height
        self._root = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width:g} {height:g}",
                "role": "img",
                "class": "picture",
                "aria-labelledby": f"{name}-t {name}-d",
            },
        )
        for tag, suffix, text in (("title", "t", title), ("desc", "d", summary)):
            ElementTree.SubElement(self._root, tag, {"id": f"{name}-{suffix}"}).text = clean(text)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Draw a straight line."""
        self._add("line", style, x1=x1, y1=y1, x2=x2, y2=y2)

    def box(self, x: float, y: float, width: float, height: float, style: str, tip: str = "") -> None:
        """Draw a rectangle; `tip` is shown when it is pointed at."""
        self._tip(self._add("rect", style, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0)), tip)

    def dot(self, x: float, y: float, radius: float, style: str, tip: str = "") -> None:
        """Draw a circle."""
        self._tip(self._add("circle", style, cx=x, cy=y, r=radius), tip)

    def path(
        self, points: Sequence[tuple[float, float]], style: str, *, close_at: float | None = None
    ) -> None:
        """Draw a line through points; with `close_at` the area between it and that height."""
        if len(points) < 2:
            return
        steps = " L".join(f"{_shown(x)} {_shown(y)}" for x, y in points)
        if close_at is not None:
            steps += (
                f" L{_shown(points[-1][0])} {_shown(close_at)} L{_shown(points[0][0])} {_shown(close_at)} Z"
            )
        ElementTree.SubElement(self._root, "path", {"class": style, "d": f"M{steps}"})

    def text(self, x: float, y: float, text: str, style: str = "label", anchor: str = "start") -> None:
        """Write a text; its baseline is at y."""
        element = self._add("text", style, x=x, y=y)
        element.set("text-anchor", anchor)
        element.text = clean(text)

    def markup(self) -> Markup:
        """Return the picture to put into a page."""
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))  # noqa: S704 - built as a tree

    def _add(self, tag: str, style: str, **numbers: float) -> ElementTree.Element:
        attributes = {"class": style, **{name: _shown(value) for name, value in numbers.items()}}
        return ElementTree.SubElement(self._root, tag, attributes)

    @staticmethod
    def _tip(element: ElementTree.Element, tip: str) -> None:
        if tip:
            ElementTree.SubElement(element, "title").text = clean(tip)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that divide a range into about so many parts."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / max(about, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [at * step for at in range(first, math.floor(high / step + 1e-9) + 1)]


def _shown(value: float) -> str:
    return f"{value if math.isfinite(value) else 0:.2f}".rstrip("0").rstrip(".")
