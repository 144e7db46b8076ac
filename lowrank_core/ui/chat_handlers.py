"""Two replies at once, and what is said about them afterwards: where they part, and how fast each is alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator
from dataclasses import dataclass

from ..study.recipe import Recipe
from . import sides
from .device import one_job
from .house import House
from .sides import Ready, Side
from .strip import strip
from .words import error_line, size

FRAME = 0.05  # seconds between updates of the page
ROUNDS = 3  # of the speeds measured apart
TIMED = 16  # tokens of each round
Messages = list[dict]


@dataclass(frozen=True)
class Options:
    """How both models are asked."""

    raw: bool = False
    temperature: float = 0.0
    max_tokens: int = 160
    system: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Turned:
    """One state of both chats, in the order of the page."""

    left: Messages
    right: Messages
    notes: tuple[str, str] = ("", "")
    between: str = ""
    strip: str = ""


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
    """What a reply took while the other ran beside it."""
    whole = f" of {size(reply.kv_whole_bytes)} dense" if reply.kv_bytes < reply.kv_whole_bytes else ""
    return f"{len(reply.tokens)} tokens on {device} · KV cache {size(reply.kv_bytes)}{whole}"


def parting(first, second, tokenizer) -> str:
    """Where the two replies part."""
    same = shared(first, second)
    if first.tokens == second.tokens:
        return f"The same for all {same} tokens{'' if first.finished and second.finished else ' so far'}."
    words = [repr(tokenizer.decode([r.tokens[same]])) if same < len(r.tokens) else "the end" for r in (first, second)]
    return f"The same for {same} tokens, then {words[0]} against {words[1]}."


def shared(first, second) -> int:
    """How many tokens two replies begin with alike."""
    pairs = enumerate(zip(first.tokens, second.tokens, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first.tokens), len(second.tokens)))


def chat_lane(session: str) -> str:
    """The name a session's chat goes by: its turns are its own, so that chatting does not stop measuring."""
    return f"{session}/chat"


@one_job(chat_lane)
def reply(
    house: House,
    pair: tuple[Side, Side],
    recipe: Recipe,
    session: str,
    left: Messages,
    right: Messages,
    prompt: str,
    options: Options,
    swapped: bool = False,
) -> Generator[tuple[Turned | None, str], None, None]:
    """Both replies as they grow, at most 20 states a second; a newer turn or Stop ends them where they are.

    Then how fast each is alone, and the strip. `swapped`: the second side of the pair is on the left of the page.
    `recipe` is Squeeze's.
    """
    if not prompt.strip():
        yield None, error_line("There is nothing to answer.", "Write a message first.")
        return
    before = (m["content"] for m in (*plain(left), *plain(right)))
    house.host.check_reply(options.max_tokens, prompt, options.system, *before)
    lane = chat_lane(session)
    turn = house.next_turn(lane)
    chats = tuple([*plain(m), {"role": "user", "content": prompt}] for m in (left, right))
    yield Turned(*chats), "Loading the model …"
    shown = []
    for side in pair[::-1] if swapped else pair:
        found = yield from sides.ready(house, side, recipe, session, lane, turn, as_it_is=True)
        found = found and (yield from sides.run_ready(house, found, lane, turn))
        if found is None:
            break
        shown.append(found)
    if len(shown) == 2:
        last = yield from _stream(house, lane, turn, shown, chats, options)
        if last is not None:
            yield from _after(house, lane, turn, shown, last, options, swapped)
    if house.visit(lane).turn != turn:
        yield None, "Stopped."


@dataclass(frozen=True)
class _Last:
    """The end of both streams: what the page shows, the prompts and the replies."""

    turned: Turned
    prompts: tuple
    replies: tuple


def _stream(house: House, lane: str, turn: int, shown: list[Ready], chats, options: Options):
    from ..generation.stream import Sampling, fitting_prompt, stream, stream_pair

    tokenizer = shown[0].loaded.tokenizer
    bare = "" if tokenizer.chat_template else "A base model: no chat template, the last message is continued as text. "
    visit = house.visit(lane)
    opening = [{"role": "system", "content": options.system}] if options.system.strip() else []
    sampling = Sampling(int(options.max_tokens), float(options.temperature), options.seed)
    contexts = [r.loaded.folder.context for r in shown]
    prompts = tuple(
        fitting_prompt(tokenizer, opening + chat, context, options.raw)
        for chat, context in zip(chats, contexts, strict=True)
    )
    pair = stream_pair(
        *(
            stream(r.running, tokenizer, prompt, sampling, context)
            for r, prompt, context in zip(shown, prompts, contexts, strict=True)
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
                notes = tuple(note(r, s.loaded.device.type) for r, s in zip(replies, shown, strict=True))
                turned = Turned(*grown, notes, bare + parting(*replies, tokenizer))
                yield turned, "Measuring each alone …" if done else "Writing …"
            if done:
                return _Last(turned, prompts, replies)
        return None
    finally:
        pair.close()


def _after(house: House, lane: str, turn: int, shown: list[Ready], last: _Last, options: Options, swapped: bool):
    """How fast each is alone and what its latents cost, then the strip: the first side's reply, read by both."""
    from ..evaluation.divergence import token_divergence

    alone = yield from _alone(house, lane, turn, shown, last)
    if house.visit(lane).turn != turn:
        return
    with house.device():
        priced = [_rebuilding(r, p, o) for r, p, o in zip(shown, last.prompts, last.replies, strict=True)]
    notes = tuple(f"{n} · {a}{p}" for n, a, p in zip(last.turned.notes, alone, priced, strict=True))
    first, second = (1, 0) if swapped else (0, 1)
    tokens = last.replies[first].tokens
    with house.device():
        found = token_divergence(shown[first].model, shown[second].model, last.prompts[first], tokens)
    decode = shown[first].loaded.tokenizer.decode
    labels = shown[first].side.label, shown[second].side.label
    drawn = strip(found, labels, lambda t: decode([t]), shared(*last.replies))
    turned = last.turned
    yield Turned(turned.left, turned.right, notes, turned.between, drawn), ""


def _rebuilding(side: Ready, prompt, reply) -> str:
    """What rebuilding keys and values takes of each token at the end of a reply; empty where nothing is rebuilt."""
    from ..kv.price import rebuild_ms
    from ..kv.serving import makes_latents

    if not makes_latents(side.running):
        return ""
    length = prompt.shape[1] + len(reply.tokens)
    took = rebuild_ms(side.running, length, ROUNDS)
    return f", {took:.2g} ms for each to rebuild the keys and values of {length}"


def _alone(house: House, lane: str, turn: int, shown: list[Ready], last: _Last):
    """Of each: time to the first token and tokens a second, in turns, with nothing else on the device.

    A slow model is timed over fewer tokens, once.
    """
    from ..generation.stream import Sampling, stream

    slowest = min((r.tokens_per_second for r in last.replies if r.tokens_per_second), default=TIMED)
    rounds, most = (ROUNDS, TIMED) if slowest > TIMED else (1, max(3, int(slowest)))
    found: list[list[tuple[float, float]]] = [[], []]
    for _ in range(rounds):
        for i, r in enumerate(shown):
            sampling, context = Sampling(most + 1), r.loaded.folder.context
            replies = stream(r.running, r.loaded.tokenizer, last.prompts[i], sampling, context)
            end = None
            while house.visit(lane).turn == turn:
                with house.device():  # given back after every token: nobody waits for a whole reply
                    step = next(replies, None)
                if step is None:
                    break
                end = step
            if house.visit(lane).turn != turn:
                return ["", ""]
            found[i].append((end.prefill_seconds, end.tokens_per_second))
            yield None, "Measuring each alone …"
    said = []
    for prefills, speeds in (zip(*f, strict=True) for f in found):
        speed = statistics.median(speeds)
        first = f"alone: first token after {1000 * statistics.median(prefills):.0f} ms"
        said.append(f"{first}, {speed:.3g} tokens/s" if speed else first)
    return said
