"""The words of a lesson, from assets/lessons, with every figure put in from its computation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import yaml

from ..settings import LESSONS_FOLDER

PLACE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Words:
    """What one lesson says: before the question, the question, and after it is answered. Markdown, formulas in $."""

    title: str
    before: str
    question: str
    options: tuple[str, ...]
    right: int  # which of the options
    after: str
    sources: Mapping[str, str]  # name → link

    def filled(self, figures: Mapping[str, str]) -> Words:
        """The same with figures in their places; KeyError names one that is missing."""

        def fill(text: str) -> str:
            return PLACE.sub(lambda m: figures[m[1]], text)

        return replace(
            self,
            before=fill(self.before),
            question=fill(self.question),
            options=tuple(map(fill, self.options)),
            after=fill(self.after),
        )


@lru_cache(maxsize=32)
def read_words(key: str) -> Words:
    """The Words of a lesson as they are written."""
    _, front, before, after = (LESSONS_FOLDER / f"{key}.md").read_text("utf-8").split("---\n")
    head = yaml.safe_load(front)
    return Words(
        head["title"],
        before.strip(),
        head["question"],
        tuple(map(str, head["options"])),
        head["right"],
        after.strip(),
        head["sources"],
    )
