"""The walkthrough: eight lessons, each computing what it shows (numpy only), and the map of the field.

A lesson is one file here, its words in assets/lessons, and one line in LESSONS.
"""

from . import cut, inputs, latents, nested, scale, which, whole, yours
from .base import Control, Layers, Lesson
from .field import Card, field_map
from .text import Words, read_words

LESSONS: tuple[Lesson, ...] = tuple(m.LESSON for m in (cut, inputs, scale, whole, nested, which, latents, yours))

__all__ = ["LESSONS", "Card", "Control", "Layers", "Lesson", "Words", "field_map", "read_words"]
