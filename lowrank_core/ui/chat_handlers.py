"""Two replies at once: the dense model's and the compressed one's."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

from ..errors import LowRankError
from ..study.recipe import Recipe
from .house import House
from .words import error_line, size

FRAME = 0.05  # seconds between updates of the page
Messages = list[dict]


@dataclass(frozen=True)
class Turned:
    """One state of both chats."""

    left: Messages
    right: Messages
    notes: tuple[str, str]
    between: str


def plain(messages: Messages) -> list[dict[str, str]]:
    """Role and text of chat messages, whatever parts the page made of them."""
    out = []
    for m in messages or []:
        content = m["content"]
        if isinstance(content, list):
            content = "".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in content)
        out.append({"role": m["role"], "content": content})
    return out


def note(reply, device: str) -> str:
    """What a finished or running reply took."""
    return (
        f"{len(reply.tokens)} tokens · first after {1000 * reply.prefill_seconds:.0f} ms · "
        f"{reply.tokens_per_second:.0f} tokens/s beside the other on {device} · KV cache {size(reply.kv_bytes)}"
    )


def parting(first, second, tokenizer) -> str:
    """Where the two replies part."""
    same = 0
    for a, b in zip(first.tokens, second.tokens, strict=False):
        if a != b:
            break
        same += 1
    if first.tokens == second.tokens:
        return f"The same for all {same} tokens{'' if first.finished and second.finished else ' so far'}."
    words = [repr(tokenizer.decode([r.tokens[same]])) if same < len(r.tokens) else "the end" for r in (first, second)]
    return f"The same for {same} tokens, then {words[0]} against {words[1]}."


def reply(
    house: House,
    recipe: Recipe,
    session: str,
    left: Messages,
    right: Messages,
    prompt: str,
    raw: bool,
    temperature: float,
    max_tokens: int,
    system: str,
) -> Generator[tuple[Turned | None, str], None, None]:
    """Both replies as they grow, at most 20 states a second; a newer turn or Stop ends them where they are."""
    if not prompt.strip():
        yield None, error_line("There is nothing to answer.", "Write a message first.")
        return
    lane = chat_lane(session)
    turn = house.next_turn(lane)
    left, right = ([*plain(m), {"role": "user", "content": prompt}] for m in (left, right))
    yield Turned(left, right, ("", ""), ""), "Loading the model …"
    try:
        models, tokenizer, device = _models(house, recipe, session)
        yield from _stream(
            house, lane, turn, models, tokenizer, device, (left, right), raw, temperature, max_tokens, system
        )
    except LowRankError as error:
        yield None, error_line(error.message, error.hint)
    if house.visit(lane).turn != turn:
        yield None, "Stopped."


def chat_lane(session: str) -> str:
    """The name a session's chat goes by: its turns are its own, so that chatting does not stop measuring."""
    return f"{session}/chat"


def _models(house: House, recipe: Recipe, session: str):
    """The dense model and the one under the session's plan, calibrating first where nothing is known."""
    from ..methods import METHODS
    from ..study.compress import compress

    bench = house.bench(recipe)
    view = house.view(recipe)
    if not view.ready:
        with house.device():
            for _ in bench.calibrate():
                pass
            for _ in bench.spectra(recipe.method, METHODS[recipe.method].settle(recipe.parameters)):
                pass
        view = house.view(recipe)
    with house.device():
        for (
            _
        ) in bench.calibrate():  # the grams that factors are cut from: stored, unless only the shipped study is here
            pass
        visit = house.visit(session)
        plan = visit.plan if visit.plan is not None and visit.recipe == recipe else view.plan(view.points)
        visit.recipe, visit.plan = recipe, plan
        return (bench.loaded.model, compress(bench, recipe, plan)), bench.loaded.tokenizer, bench.loaded.device.type


def _stream(house, lane, turn, models, tokenizer, device, chats, raw, temperature, max_tokens, system):
    from ..generation.stream import Sampling, prompt_ids, stream, stream_pair

    visit = house.visit(lane)
    opening = [{"role": "system", "content": system}] if system.strip() else []
    sampling = Sampling(int(max_tokens), float(temperature), 0)
    pair = stream_pair(
        *(
            stream(m, tokenizer, prompt_ids(tokenizer, opening + chat, raw), sampling)
            for m, chat in zip(models, chats, strict=True)
        )
    )
    last, replies = 0.0, None
    try:
        while visit.turn == turn:
            with house.device():
                replies = next(pair, None) or replies
            done = replies[0].finished and replies[1].finished
            if done or time.monotonic() - last > FRAME:
                last = time.monotonic()
                grown = [[*c, {"role": "assistant", "content": r.text}] for c, r in zip(chats, replies, strict=True)]
                yield (
                    Turned(*grown, tuple(note(r, device) for r in replies), parting(*replies, tokenizer)),
                    "" if done else "Writing …",
                )
            if done:
                return
    finally:
        pair.close()
