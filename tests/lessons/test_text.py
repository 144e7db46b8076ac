"""The lessons' words: short, every figure from its computation, nothing left open, every source a link."""

import re

import pytest

from lowrank_core.lessons import LESSONS, field_map, read_words
from lowrank_core.lessons.text import PLACE

KEYS = [lesson.key for lesson in LESSONS]
FORMULA = re.compile(r"\$\$.*?\$\$", re.S)
NUMBER = re.compile(r"\d")


def lesson_of(key: str):
    return next(lesson for lesson in LESSONS if lesson.key == key)


def first(lesson, layers) -> str | None:
    return lesson.first(layers)


def test_there_are_eight_in_order():
    assert [key.split("-")[0] for key in KEYS] == [str(i) for i in range(1, 9)]


@pytest.mark.parametrize("key", KEYS)
def test_at_most_sixty_words(key, layers):
    lesson = lesson_of(key)
    said = read_words(key).filled(lesson.figures(layers, first(lesson, layers)))
    prose = FORMULA.sub(" ", f"{said.before} {said.question} {said.after}")
    assert len(FORMULA.sub(" ", said.before).split()) >= 12, "it says too little to ask about"
    assert len(prose.split()) <= 60, f"{len(prose.split())} words"


@pytest.mark.parametrize("key", KEYS)
def test_no_number_is_written_by_hand(key):
    """What is not a formula holds no digit but what a computation puts in (k₂ and the like are letters)."""
    words = read_words(key)
    prose = FORMULA.sub(" ", " ".join([words.before, words.question, *words.options, words.after]))
    assert not NUMBER.search(re.sub(r"[₀-₉]", "", PLACE.sub("", prose)))


@pytest.mark.parametrize("key", KEYS)
def test_every_figure_is_computed_and_used(key, layers):
    words, lesson = read_words(key), lesson_of(key)
    raw = " ".join([words.before, words.question, *words.options, words.after])
    figures = lesson.figures(layers, first(lesson, layers))
    assert set(PLACE.findall(raw)) == set(figures)
    said = words.filled(figures)
    text = " ".join([said.before, said.question, *said.options, said.after])
    assert all(value in text for value in figures.values()) and not PLACE.search(text)


@pytest.mark.parametrize("key", KEYS)
def test_a_question_has_three_options_and_one_is_right(key):
    words = read_words(key)
    assert len(words.options) == 3 and words.right in range(3) and words.question.endswith("?")
    assert words.sources and all(link.startswith("https://") for link in words.sources.values())


def test_a_missing_figure_is_not_passed_over():
    with pytest.raises(KeyError, match="weight_error"):
        read_words("1-cut").filled({})


def test_the_map_says_what_each_does_and_where_it_is_written():
    kinds = field_map()
    assert {"Quantization", "Pruning", "Delta", "Distillation"} <= set(kinds)
    cards = [card for cards in kinds.values() for card in cards]
    assert len({card.name for card in cards}) == len(cards) >= 16
    for card in cards:
        assert len(card.line.split()) <= 40 and card.line.endswith(".")
        number = re.search(r"arXiv (\d{4}\.\d{5})$", card.paper)
        assert card.link == f"https://arxiv.org/abs/{number[1]}"
    assert all(c.seen for c in cards if c.name in ("NID", "OBD-LLM")), "what is from memory or second hand says so"
