"""The simple world is correct, reproducible, and keeps its held-out part out of training."""

from __future__ import annotations

import random
import re

from lowrank_core.demo import world
from lowrank_core.demo.world.plots import PROBLEMS
from lowrank_core.demo.world.talk import INTENTS

WRONG_ARTICLE = re.compile(r"\b(?:a [aeiou]|an [^aeiou\W])", re.IGNORECASE)
TRAINING = [question for fact in world.FACTS for question in world.questions(fact)]
HELD_OUT = [question for fact in world.FACTS for question in world.held_out_questions(fact)]


def chats(count: int, held_out: bool = False) -> list[list[dict[str, str]]]:
    """The conversations of the seeds 0, 1, ... count - 1."""
    return [world.conversation(random.Random(seed), held_out) for seed in range(count)]


def words(template: str) -> set[str]:
    """The lower-case words of a template, slots included."""
    return set(re.findall(r"[\w{}]+", template.lower()))


def test_facts_are_many_and_unique() -> None:
    assert len(world.FACTS) >= 420
    assert len({(fact.kind, fact.subject) for fact in world.FACTS}) == len(world.FACTS)
    assert len({fact.kind for fact in world.FACTS}) >= 14


def test_replies_hold_the_answer() -> None:
    for fact in world.FACTS:
        assert re.search(rf"\b{re.escape(fact.answer)}\b", fact.reply, re.IGNORECASE), fact
        assert fact.reply[0].isupper() and fact.reply.endswith(".")


def test_templates_are_many_and_held_out_words_are_known() -> None:
    for kind, templates in world.PHRASINGS.items():
        assert len(set(templates)) >= 14 and len(set(world.HELD_OUT[kind])) == 3
        known = set().union(*map(words, templates))
        for template in world.HELD_OUT[kind]:
            assert words(template) <= known, (kind, template, words(template) - known)


def test_a_question_has_one_reply() -> None:
    replies: dict[str, str] = {}
    for fact in world.FACTS:
        for question in world.questions(fact) + world.held_out_questions(fact):
            assert replies.setdefault(question, fact.reply) == fact.reply, question


def test_held_out_questions_are_never_trained() -> None:
    plain = {re.sub(r"\W+", " ", question.lower()).strip() for question in TRAINING}
    for question in HELD_OUT:
        assert re.sub(r"\W+", " ", question.lower()).strip() not in plain, question


def test_articles_and_ascii() -> None:
    for text in TRAINING + HELD_OUT + [fact.reply for fact in world.FACTS]:
        if "letter A " not in text and "after A" not in text:
            assert not WRONG_ARTICLE.search(text), text
        assert text.isascii() and "{" not in text and "^" not in text


def test_conversations_are_reproducible() -> None:
    assert chats(50) == chats(50)
    assert chats(50, held_out=True) == chats(50, held_out=True)


def test_training_conversations_hold_nothing_held_out() -> None:
    held_out = set(HELD_OUT)
    for chat in chats(2000):
        assert [message["role"] for message in chat] == ["user", "assistant"] * (len(chat) // 2)
        for message in chat:
            assert message["content"].isascii() and "{" not in message["content"]
            assert message["content"] not in held_out
    for seed in range(2000):
        told = world.tell(random.Random(seed))
        assert (told.hero.name, told.problem.key) not in world.HELD_OUT_PAIRS
        told = world.tell(random.Random(seed), held_out=True)
        assert (told.hero.name, told.problem.key) in world.HELD_OUT_PAIRS


def test_held_out_conversations_ask_no_training_question() -> None:
    trained = set(TRAINING)
    for chat in chats(500, held_out=True):
        assert not trained & {message["content"] for message in chat if message["role"] == "user"}


def test_stories_are_short_and_distinct() -> None:
    texts = [world.story(random.Random(seed))[1] for seed in range(2000)]
    assert len(set(texts)) >= 1990
    for text in texts:
        assert 70 <= len(text.split()) <= 180, text
        assert not WRONG_ARTICLE.search(text), text
        assert re.search(r'[.!"]$', text)


def test_world_is_large_enough() -> None:
    assert len(world.HEROES) >= 10 and len(PROBLEMS) >= 12 and len(INTENTS) >= 30
    pairs = len(world.HEROES) * len(PROBLEMS)
    assert 0 < len(world.HELD_OUT_PAIRS) < pairs / 4


def test_exam_is_every_held_out_question() -> None:
    assert [question for question, _ in world.exam()] == HELD_OUT
    assert world.exam() == world.exam()
