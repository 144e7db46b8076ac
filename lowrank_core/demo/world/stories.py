"""Short coherent stories with a fitting request: `story(rng)` gives ("Tell me a story about a fox.", "Once ...").

A story has a hero, a place, and a problem from `plots.py` with its own causes,
first tries, helpers, solutions and endings. Some pairs of hero and problem are
held out: training never sees them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .facts import capitalised, with_article
from .plots import PROBLEMS, Problem


@dataclass(frozen=True)
class Hero:
    """Who a story is about: name, species, "he" or "she", and two fitting habits."""

    name: str
    species: str
    he: str
    habits: tuple[str, str]

    @property
    def is_child(self) -> bool:
        """Whether the hero is a boy or a girl."""
        return self.species in ("boy", "girl")

    @property
    def title(self) -> str:
        """The name used in a request: "Mia the mouse", but only "Anna" for a child."""
        return self.name if self.is_child else f"{self.name} the {self.species}"


HEROES: tuple[Hero, ...] = (
    Hero("Finn", "fox", "he", ("loved to run in the wind", "liked to tell funny jokes")),
    Hero("Mia", "mouse", "she", ("loved to collect tiny seeds", "liked to sing little songs")),
    Hero("Bruno", "bear", "he", ("loved warm soup and long naps", "liked to pick berries")),
    Hero("Rosie", "rabbit", "she", ("loved to jump over puddles", "liked to eat fresh carrots")),
    Hero("Leo", "lion", "he", ("loved to lie in the sun", "liked to brush his golden hair")),
    Hero("Daisy", "duck", "she", ("loved to splash in the water", "liked to count the clouds")),
    Hero("Peter", "pig", "he", ("loved to roll in the soft grass", "liked to bake apple pies")),
    Hero("Holly", "hedgehog", "she", ("loved to drink warm tea", "liked to look at the stars")),
    Hero("Max", "puppy", "he", ("loved to play with a ball", "liked to make new friends")),
    Hero("Kitty", "kitten", "she", ("loved to chase falling leaves", "liked to sit by the window")),
    Hero("Eddie", "elephant", "he", ("loved to water the flowers", "liked to paint big pictures")),
    Hero("Polly", "pony", "she", ("loved to gallop in the morning", "liked to smell the flowers")),
    Hero("Sam", "squirrel", "he", ("loved to climb to high places", "liked to hide nuts")),
    Hero("Anna", "girl", "she", ("loved to read picture books", "liked to draw animals")),
    Hero("Tom", "boy", "he", ("loved to build small boats", "liked to ride his red bike")),
    Hero("Tina", "turtle", "she", ("loved slow walks", "liked to listen to the birds")),
)

PLACES: tuple[str, ...] = (
    "in a green forest", "in a quiet village", "on a small farm", "near a blue lake",
    "by a wide river", "at the foot of a tall mountain", "in a sunny valley",
    "near the edge of a big field", "on a little island", "in a pretty town by the sea",
    "near an old windmill", "behind a hill with seven trees", "in a little house near the woods",
    "next to a large garden",
)

DAYS: tuple[str, ...] = (
    "One sunny morning", "One windy day", "One day in spring", "One autumn afternoon",
    "One fine day", "One Saturday", "One Sunday", "On the first day of summer",
)

OPENINGS: tuple[str, ...] = (
    "Once upon a time, {who} lived {place}.",
    "There once was {who} who lived {place}.",
    "Long ago, {who} lived {place}.",
    "{Place} there lived {who}.",
)

MEETINGS: tuple[str, ...] = (
    "Just then, {a_helper} came by.", "Soon {a_helper} came along the path.",
    "After a while, {name} met {a_helper}.", "Not far away, {a_helper} heard {him}.",
)

ASKS: tuple[str, ...] = (
    '"What is wrong, {name}?" asked the {helper}.', '"Why do you look so sad?" asked the {helper}.',
    '"Can I help you?" asked the {helper}.', '"My friend, what happened?" asked the {helper}.',
)

TELLS: tuple[str, ...] = (
    "{name} told the {helper} everything.", "{name} took a deep breath and told the whole story.",
    "So {name} told the {helper} about the trouble.",
)

THANKS: tuple[str, ...] = (
    '"Thank you so much!" said {name}.', '"You are a true friend," said {name}.',
    "{name} smiled and thanked the {helper}.", '{name} gave the {helper} a big hug.',
    '"Thank you, dear {helper}!" said {name} with a happy smile.',
)

# Requests by what they name; "{a_hero}" is "a fox", "{title}" is "Finn the fox".
OPEN_REQUESTS: tuple[str, ...] = (
    "Tell me a story.", "I want a bedtime story.", "Can you tell me a story?", "tell me a story",
    "Please tell me a short story.", "I would like to hear a story, please.", "A story, please!",
    "Do you know a nice story?", "Could you read me a story?", "I am tired. Tell me a bedtime story.",
)
HERO_REQUESTS: tuple[str, ...] = (
    "Tell me a story about {a_hero}.", "Can you tell a short story about {title}?",
    "tell me a story about {a_hero}", "I want a story about {title}.",
    "Do you know a story about {a_hero}?", "Please tell me a bedtime story about {a_hero}.",
    "I would like to hear a story about {title}.", "A story about {a_hero}, please.",
    "Tell me about {title}.", "Can you make up a story about {a_hero} called {name}?",
)
PLOT_REQUESTS: tuple[str, ...] = (
    "Tell me a story about {a_hero} who {topic}.", "Can you tell me a story about {a_hero} who {topic}?",
    "I want to hear how {title} {topic}.", "Please tell a story about {title}, who {topic}.",
    "tell me a story about {a_hero} who {topic}", "A story about {a_hero} who {topic}, please.",
    "Do you know the story of {title}, who {topic}?",
)
PLACE_REQUESTS: tuple[str, ...] = (
    "Tell me a story about {a_hero} who lived {place}.", "I want a story about {title}, who lived {place}.",
    "Can you tell me a story about {a_hero} {place}?",
)

HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    (hero.name, problem.key)
    for row, hero in enumerate(HEROES)
    for column, problem in enumerate(PROBLEMS)
    if (row + 3 * column) % 8 == 0
)


@dataclass(frozen=True)
class Told:
    """A story as told: the request, the text, and what may be asked about it later."""

    request: str
    text: str
    hero: Hero
    problem: Problem
    place: str
    helper: str


def _pair(rng: random.Random, held_out: bool) -> tuple[Hero, Problem]:
    """A random hero and problem whose pair is held out, or is not."""
    while True:
        hero, problem = rng.choice(HEROES), rng.choice(PROBLEMS)
        if ((hero.name, problem.key) in HELD_OUT_PAIRS) == held_out:
            return hero, problem


def _request(rng: random.Random, held_out: bool) -> str:
    """A random request pattern; a held-out one always names hero and problem."""
    if held_out:
        return rng.choice(PLOT_REQUESTS)
    groups = (OPEN_REQUESTS, HERO_REQUESTS, PLOT_REQUESTS, PLACE_REQUESTS)
    return rng.choice(rng.choices(groups, weights=(2, 4, 5, 1))[0])


def tell(rng: random.Random, held_out: bool = False) -> Told:
    """A random story with its request and its parts."""
    hero, problem = _pair(rng, held_out)
    place = rng.choice(PLACES)
    helper = rng.choice([name for name in problem.helpers if name.split()[-1] != hero.species])
    adjective = rng.choice(("little", "kind", "cheerful", "friendly", "young", "clever"))
    male = hero.he == "he"
    slots = {
        "name": hero.name, "title": hero.title, "species": hero.species,
        "a_hero": with_article(hero.species), "topic": problem.topic.format(his="his" if male else "her"),
        "place": place, "Place": capitalised(place),
        "helper": helper.split()[-1], "a_helper": with_article(helper),
        "who": f"{with_article(adjective)} {hero.species} named {hero.name}",
        "he": hero.he, "He": capitalised(hero.he),
        "him": "him" if male else "her",
        "his": "his" if male else "her", "His": "His" if male else "Her",
        "himself": "himself" if male else "herself",
    }
    sentences = [
        rng.choice(OPENINGS),
        "{name} " + rng.choice(hero.habits) + ".",
        rng.choice(problem.days or DAYS) + ", " + rng.choice(problem.causes),
        rng.choice(problem.feelings),
        rng.choice(problem.tries),
        rng.choice(MEETINGS),
        rng.choice(ASKS),
        rng.choice(TELLS),
        rng.choice(problem.solutions),
        rng.choice(THANKS),
        rng.choice(problem.endings),
    ]
    if rng.random() < 0.7:
        sentences.append(rng.choice(problem.morals))
    request = _request(rng, held_out).format(**slots)
    return Told(request, " ".join(sentences).format(**slots), hero, problem, place, helper)


def story(rng: random.Random, held_out: bool = False) -> tuple[str, str]:
    """A random request and the story that fits it."""
    told = tell(rng, held_out)
    return told.request, told.text
