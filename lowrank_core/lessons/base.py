"""What a lesson is: a control, a picture for each of its positions, and the figures that its text quotes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..types import Site, Spectrum


@dataclass(frozen=True)
class Control:
    """The one slider of a lesson."""

    label: str
    low: float
    high: float
    step: float
    start: float  # before the question is answered
    told: float  # where the answer shows


@dataclass(frozen=True)
class Layers:
    """The loaded model as the last lesson reads it."""

    sites: tuple[Site, ...] = ()
    loudest: Callable[[], str | None] = lambda: None  # path of the site to begin with
    spectra: Callable[[str], Sequence[Spectrum]] = field(default=lambda path: ())  # of a site, by its path
    setting: str = ""  # how they came about


@dataclass(frozen=True)
class Lesson:
    """One step of the walkthrough; its words are in assets/lessons/KEY.md.

    `picture` gives a value with a `caption`; `figures` gives what stands for each {{name}} of the text.
    """

    key: str
    control: Callable[[str | None], Control]
    picture: Callable[[Layers, str | None, float], Any]
    figures: Callable[[Layers, str | None], Mapping[str, str]]
    choice: str = ""  # label of the menu beside the slider
    choices: Callable[[Layers], Sequence[tuple[str, str]]] = lambda layers: ()  # its (label, value) pairs
    first: Callable[[Layers], str | None] = lambda layers: None  # the one that stands at the start
    reads_model: bool = False  # whether it needs the Layers of the loaded model


def percent(share: float, digits: int = 1) -> str:
    """31.6 %."""
    return f"{100 * share:.{digits}f} %"
