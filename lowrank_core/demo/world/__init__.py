"""Endless plain-English chats about a simple world: `conversation(random.Random(1))[0]["content"]` is a user's line.

The world has facts with one right answer, short stories, and small talk. All of
it follows from the random generator given. Some question forms and some pairs of
story hero and problem are held out, so that a model can be examined on them.
"""

from __future__ import annotations

import random

from .facts import FACTS, Fact, with_article
from .phrasings import HELD_OUT, PHRASINGS, held_out_questions, questions
from .stories import HELD_OUT_PAIRS, HEROES, Told, story, tell
from .talk import greeting, small_talk, turn

__all__ = [
    "FACTS", "Fact", "HELD_OUT", "HELD_OUT_PAIRS", "HEROES", "PHRASINGS", "conversation", "exam",
    "held_out_questions", "questions", "small_talk", "story", "tell", "with_article",
]

KINDS: tuple[str, ...] = tuple(PHRASINGS)
BY_KIND: dict[str, list[Fact]] = {kind: [fact for fact in FACTS if fact.kind == kind] for kind in KINDS}

YES: tuple[str, ...] = ("Yes, please.", "Yes!", "yes please", "Oh yes, please!", "Yes, I would like that.")

Turn = tuple[str, str]


def _fact_turn(rng: random.Random, held_out: bool) -> Turn:
    """One question and its reply; small kinds are asked a little more often than their share."""
    kind = rng.choices(KINDS, weights=[len(BY_KIND[kind]) + 5 for kind in KINDS])[0]
    fact = rng.choice(BY_KIND[kind])
    asked = held_out_questions(fact) if held_out else questions(fact)
    return rng.choice(asked), fact.reply


def _facts(rng: random.Random, held_out: bool) -> list[Turn]:
    """One to five questions, sometimes after a greeting and before thanks."""
    turns = [greeting(rng)] if rng.random() < 0.15 else []
    turns += [_fact_turn(rng, held_out) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.1:
        turns.append(turn(rng, "thanks"))
    return turns


def _about(rng: random.Random, told: Told) -> Turn:
    """A question about the story just told, with its answer."""
    name, species = told.hero.name, told.hero.species
    name_asked = rng.choice(
        (f"What was the name of the {species}?", f"What was the {species} called?", "Who was the story about?")
    )
    if name_asked.startswith("Who"):
        name_reply = f"The story was about {with_article(species)} named {name}."
    else:
        name_reply = f"The name of the {species} was {name}."
    place_asked = rng.choice((f"Where did {name} live?", f"Where did the {species} live?", f"where did {name} live"))
    helper_asked = rng.choice((f"Who helped {name}?", f"Who helped the {species}?", f"who helped {name}"))
    helper = told.helper
    return rng.choice(
        (
            (name_asked, name_reply),
            (place_asked, f"{name} lived {told.place}."),
            (helper_asked, f"{with_article(helper)[0].upper()}{with_article(helper)[1:]} helped {name}."),
        )
    )


def _story(rng: random.Random, held_out: bool) -> list[Turn]:
    """A story, sometimes with a greeting before, and a question or thanks after it."""
    turns = [greeting(rng)] if rng.random() < 0.1 else []
    told = tell(rng, held_out)
    turns.append((told.request, told.text))
    if rng.random() < 0.35:
        turns.append(_about(rng, told))
    if rng.random() < 0.2:
        turns.append(turn(rng, rng.choice(("thanks", "praise", "night"))))
    return turns


def _talk(rng: random.Random, held_out: bool) -> list[Turn]:
    """Small talk, sometimes followed by a question, or by the story it offers."""
    turns = small_talk(rng)
    if turns[-1][1].endswith(" story?") and rng.random() < 0.6:
        turns.append((rng.choice(YES), tell(rng, held_out).text))
    elif rng.random() < 0.25:
        turns.append(_fact_turn(rng, held_out))
    return turns


def conversation(rng: random.Random, held_out: bool = False) -> list[dict[str, str]]:
    """One chat as messages with "role" and "content": 45 % facts, 35 % a story, 20 % small talk."""
    make = rng.choices((_facts, _story, _talk), weights=(45, 35, 20))[0]
    messages = []
    for said, reply in make(rng, held_out):
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": reply})
    return messages


def exam() -> list[tuple[str, str]]:
    """Every (held-out question, canonical reply), in the order of `FACTS`."""
    return [(asked, fact.reply) for fact in FACTS for asked in held_out_questions(fact)]
