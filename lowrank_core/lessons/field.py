"""The map of the field: related systems, what each does, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import yaml

from ..settings import LESSONS_FOLDER


@dataclass(frozen=True)
class Card:
    """One related system."""

    name: str
    line: str  # what it does
    paper: str
    link: str
    seen: str = ""  # where the fact is not from the paper itself: what it rests on


@lru_cache(maxsize=1)
def field_map() -> dict[str, tuple[Card, ...]]:
    """Kind of compression → its cards, in the order of assets/lessons/map.yaml."""
    kinds = yaml.safe_load((LESSONS_FOLDER / "map.yaml").read_text("utf-8"))
    return {kind: tuple(Card(**card) for card in cards) for kind, cards in kinds.items()}
