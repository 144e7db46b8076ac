"""Lesson 6: which layer pays; two layers by hand, then the search on all of them."""

from __future__ import annotations

from . import search, split
from .base import Control, Layers, Lesson, percent
from .bundled import bundled

TWO, ALL = "two", "all"


def control(choice: str | None) -> Control:
    return search.control() if choice == ALL else split.CONTROL


def picture(layers: Layers, choice: str | None, value: float):
    return search.replay(value) if choice == ALL else split.split(value)


def figures(layers: Layers, choice: str | None) -> dict[str, str]:
    two = split.split(split.CONTROL.start)
    both = two.losses["both"]
    found, even = bundled().judged("strs"), bundled().judged("uniform")
    return {
        "equal": f"{both[two.at]:.3f}",
        "best": f"{both[two.best]:.3f}",
        "best_keep": percent(two.keeps[two.best], 0),
        "strs": f"{found.perplexity:.2f}",
        "uniform": f"{even.perplexity:.2f}",
    }


LESSON = Lesson(
    "6-which",
    control,
    picture,
    figures,
    "Shown",
    lambda layers: [("Two layers", TWO), ("The search on all layers", ALL)],
    lambda layers: TWO,
)
