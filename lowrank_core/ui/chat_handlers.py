"""Two replies at once: the dense model's and the compressed one's."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

from ..study.recipe import Recipe
from .device import one_job
from .house import House
from .squeeze_handlers import prepare, told
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


def chat_lane(session: str) -> str:
    """The name a session's chat goes by: its turns are its own, so that chatting does not stop measuring."""
    return f"{session}/chat"


@one_job(chat_lane)
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
    house.host.check_reply(max_tokens, prompt, system, *(m["content"] for m in (*plain(left), *plain(right))))
    lane = chat_lane(session)
    turn = house.next_turn(lane)
    left, right = ([*plain(m), {"role": "user", "content": prompt}] for m in (left, right))
    yield Turned(left, right, ("", ""), ""), "Loading the model …"
    bench = house.bench(recipe)
    model = yield from _compressed(house, bench, recipe, session, lane, turn)
    if model is not None:
        models = (bench.loaded.model, model)
        yield from _stream(house, lane, turn, models, bench.loaded, (left, right), raw, temperature, max_tokens, system)
    if house.visit(lane).turn != turn:
        yield None, "Stopped."


def _compressed(house: House, bench, recipe: Recipe, session: str, lane: str, turn: int):
    """The model under the session's plan, calibrating first what is not known; None where it was stopped."""
    from ..study.compress import compress

    for stage in prepare(bench, recipe):  # the grams that factors are cut from are not shipped
        yield from told(house.steps(stage, lane, turn))
        if house.visit(lane).turn != turn:
            return None
    visit, view = house.visit(session), house.view(recipe)
    if visit.recipe != recipe or visit.plan is None:
        visit.settle_on(recipe, view.plan(view.points))
    return (yield from told(house.steps(compress.steps(bench, recipe, visit.plan), lane, turn)))


def _stream(house, lane, turn, models, loaded, chats, raw, temperature, max_tokens, system):
    from ..generation.stream import Sampling, fitting_prompt, stream, stream_pair

    tokenizer, device, context = loaded.tokenizer, loaded.device.type, loaded.folder.context
    bare = "" if tokenizer.chat_template else "A base model: no chat template, the last message is continued as text. "
    visit = house.visit(lane)
    opening = [{"role": "system", "content": system}] if system.strip() else []
    sampling = Sampling(int(max_tokens), float(temperature), 0)
    pair = stream_pair(
        *(
            stream(m, tokenizer, fitting_prompt(tokenizer, opening + chat, context, raw), sampling, context)
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
                    Turned(*grown, tuple(note(r, device) for r in replies), bare + parting(*replies, tokenizer)),
                    "" if done else "Writing …",
                )
            if done:
                return
    finally:
        pair.close()
