"""What happens on the Chat page: sending, stopping, voting, saving."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import gradio as gr
import yaml

from ..errors import LowRankError
from ..report.transcript import as_json, as_markdown
from ..study.recipe import Recipe
from ..study.spelling import said
from . import chat_handlers as handlers
from . import sides
from .chat import VOTES, Chat
from .chat_handlers import Options
from .choices import named, recipe_values
from .head import Head, telling
from .house import House
from .relay import explain, guarded
from .saving import file, saves
from .squeeze import Squeeze

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
SKIP = gr.skip()


def connect(
    page: Chat, squeeze: Squeeze, house: House, model: gr.State, make_recipe: Callable[[dict], Recipe], head: Head
) -> None:
    """One message to both models, as streams; Stop, Retry, Clear, the blind vote and the files."""
    shown = [page.left, page.right, page.left_note, page.right_note, page.between, page.strip, page.status]
    answered = [*shown, page.box, page.held, page.voting, page.verdict]

    def answer(request: gr.Request, name, *rest):
        *choices, left_key, right_key, left, right, prompt, raw, temperature, length, system, seed, blind, held = rest
        session = request.session_hash
        try:
            recipe = make_recipe(recipe_values(name, *choices))
            visit = house.visit(session)
            pair = tuple(sides.side_of(key, recipe, visit, house.host) for key in (left_key, right_key))
        except LowRankError as error:
            yield [*[SKIP] * 6, explain(error), *[SKIP] * 4]
            return
        options = Options(bool(raw), float(temperature), int(length), system, int(seed or 0))
        held = begun(held, pair, options, blind)
        if held["new"]:
            left, right = [], []
        names = ("A", "B") if blind else [s.label for s in held["sides"]]
        first = True
        steps = handlers.reply(house, pair, recipe, session, left, right, prompt, options, held["swapped"])
        for turned, status in guarded(steps, lambda line: (None, line)):
            if turned is None:
                yield [*[SKIP] * 6, status, *[SKIP] * 4]
                continue
            held |= {"notes": turned.notes, "strip": turned.strip}
            extra = ("", "", "") if blind else (*turned.notes, turned.strip)
            chats = [turned.left, turned.right]
            if first:
                chats = [gr.Chatbot(value=c, label=n) for c, n in zip(chats, names, strict=True)]
            open_vote = bool(blind and turned.notes[0] and not status)
            rest = [held, gr.Row(visible=open_vote), ""] if first or not status else [SKIP] * 3
            yield [*chats, *extra[:2], turned.between, extra[2], status, "" if first else SKIP, *rest]
            first = False

    def stop(request: gr.Request):
        house.next_turn(handlers.chat_lane(request.session_hash))

    def take_back(left, right):
        left, right = handlers.plain(left), handlers.plain(right)
        asked = [m["content"] for m in left if m["role"] == "user"]
        if not asked:
            return [SKIP] * 3
        cut = [m[: max(i for i, x in enumerate(m) if x["role"] == "user")] for m in (left, right)]
        return [*cut, asked[-1]]

    def clear(request: gr.Request, held):
        stop(request)
        return [[], [], "", "", "", "", "", "", {"votes": held.get("votes")}, gr.Row(visible=False), ""]

    def refresh(request: gr.Request, name, left_key, right_key):
        found = sides.choices(house.visit(request.session_hash), name, house.host)
        known = [key for _, key in found]
        return [
            gr.Dropdown(choices=found, value=key if key in known else fallback)
            for key, fallback in ((left_key, known[0]), (right_key, known[:2][-1]))
        ]

    sides_chosen = [page.left_side, page.right_side]
    inputs = [
        model, *squeeze.choices, *sides_chosen, page.left, page.right, page.box, *page.options, page.blind, page.held,
    ]  # fmt: skip
    replying, replied = telling(house, answer), [*answered, head.job]
    gr.on(
        [page.send.click, page.box.submit], replying, inputs, replied, concurrency_limit=8, trigger_mode="once", **QUIET
    )
    page.retry.click(take_back, [page.left, page.right], [page.left, page.right, page.box], **QUIET).then(
        replying, inputs, replied, concurrency_limit=8, **QUIET
    )
    page.stop.click(stop, None, None, queue=False, **QUIET)
    page.clear.click(clear, page.held, answered, **QUIET)
    page.blind.input(clear, page.held, answered, **QUIET)
    model.change(refresh, [model, *sides_chosen], sides_chosen, **QUIET)
    for side in sides_chosen:
        side.focus(refresh, [model, *sides_chosen], sides_chosen, **QUIET)
    told = [page.left, page.right, page.left_note, page.right_note, page.strip, page.voting, page.verdict, page.held]
    for choice, button in zip(VOTES, page.votes, strict=True):
        button.click(lambda held, c=choice: vote(held, c), page.held, told, **QUIET)
    for kind, button in (("json", page.as_json), ("md", page.as_markdown)):
        saves(button, lambda *a, k=kind: transcript(k, *a), [page.held, page.left, page.right])


def begun(held: dict, pair: tuple, options: Options, blind: bool) -> dict:
    """What is held of a chat while it is answered: its sides as the page shows them, and whether they change places.

    A blind chat draws lots when it begins, and again after each vote: `new` says that the chats start empty.
    """
    new = bool(blind) and ("swapped" not in held or held.get("told") or held.get("pair") != pair)
    swapped = random.random() < 0.5 if new else bool(blind and held.get("swapped"))
    return {
        "pair": pair, "sides": pair[::-1] if swapped else pair, "swapped": swapped, "new": new, "told": not blind,
        "settings": {k: getattr(options, k) for k in ("temperature", "max_tokens", "seed", "system", "raw")},
        "votes": held.get("votes") or Counter(),
    }  # fmt: skip


def vote(held: dict, choice: str) -> list:
    """Who was who, and the votes so far, after one more."""
    if "sides" not in held or held["told"]:
        return [SKIP] * 8
    names = [s.label for s in held["sides"]]
    won = "the same" if choice == VOTES[2] else names[VOTES.index(choice)]
    votes = held["votes"] + Counter([won])
    said = ", ".join(f"{name} {count}" for name, count in votes.most_common())
    verdict = f"A is **{names[0]}**, B is **{names[1]}**. Votes so far: {said}. The next message begins a new chat."
    return [
        *(gr.Chatbot(label=n) for n in names), *held["notes"], held["strip"], gr.Row(visible=False), verdict,
        {**held, "told": True, "votes": votes},
    ]  # fmt: skip


def transcript(kind: str, held: dict, left, right) -> str:
    """The file of both chats; a blind one is kept after the vote only."""
    chats = [handlers.plain(m) for m in (left, right)]
    if not any(chats):
        raise gr.Error("There is no chat to save. Write a message first.", print_exception=False)
    if not held.get("told"):
        raise gr.Error("The file would tell A from B. Vote first.", print_exception=False)
    recipes = [s.recipe and named(s.recipe) for s in held["sides"]]
    labels = [s.label for s in held["sides"]]
    told = list(zip(labels, [r and r.model_dump(mode="json") for r in recipes], chats, strict=True))
    if kind == "json":
        return file("chat.json", as_json(told, held["settings"]), "application/json")
    spelled = {label: said(recipe) for label, recipe in zip(labels, recipes, strict=True) if recipe}
    return file(
        "chat.md",
        as_markdown(told, held["settings"], yaml.safe_dump(spelled, sort_keys=False) if spelled else ""),
        "text/markdown",
    )
