"""`chat`: replies of one model, or of two to the same prompts."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadValue
from ..settings import SEED
from .opening import open_model
from .options import Device, Dtype, Json, ModelOrDir
from .output import emit
from .relay import note, relay

if TYPE_CHECKING:
    from ..generation.stream import Reply, Sampling
    from ..models.loading import LoadedModel

Against = Annotated[
    str, typer.Option(metavar="MODEL_OR_DIR", help="A second model, asked the same.", show_default=False)
]
Prompt = Annotated[
    str, typer.Option(metavar="TEXT", help="Ask this once; without it, a conversation.", show_default=False)
]
MaxTokens = Annotated[int, typer.Option(min=1, metavar="N", help="Longest reply.")]
Temperature = Annotated[float, typer.Option(min=0.0, metavar="T", help="0 takes the likeliest token, more draws.")]
Seed = Annotated[int, typer.Option(help="Of the draws, where the temperature is not 0.")]
Messages = list[dict[str, str]]


def chat(
    model: ModelOrDir,
    against: Against = None,
    prompt: Prompt = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = SEED,
) -> None:
    """Talk to a model, or to two side by side. /quit or Ctrl-D ends a conversation."""
    if json and prompt is None:
        raise BadValue("A conversation has no JSON.", "Give --prompt TEXT as well.")
    if prompt is not None and not prompt.strip():
        raise BadValue("The prompt is empty.", "Give a few words.")
    models = [_open(name, device, dtype) for name in (model, against) if name is not None]
    from ..generation.stream import Sampling

    sampling = Sampling(max_tokens, temperature, seed)
    if prompt is None:
        _converse(models, sampling)
        return
    shown = _unseen if json else _printed
    replies = [_ask(m, [{"role": "user", "content": prompt}], sampling, shown(m, models)) for m in models]
    found = [{"model": m.name, **record(reply)} for m, reply in zip(models, replies, strict=True)]
    emit({"prompt": prompt, "replies": found}, json, lambda _: None)


def _open(name: str, device: str | None, dtype: str | None) -> "LoadedModel":
    """The model, in the forms that are fastest here: what is measured for that is kept."""
    loaded = open_model(name, device, dtype)
    from ..generation.ready import ready
    from ..study.read import open_store

    return replace(loaded, model=relay(ready.steps(loaded.model, open_store(), keep=False)))


def record(reply: "Reply") -> dict[str, Any]:
    """A reply as JSON carries it; seconds include reading the prompt, tokens per second do not."""
    return {
        "text": reply.text,
        "tokens": len(reply.tokens),
        "seconds": reply.prefill_seconds + reply.decode_seconds,
        "tokens_per_second": reply.tokens_per_second,
    }


def _converse(models: list["LoadedModel"], sampling: "Sampling") -> None:
    """A conversation, each model with its own replies as its memory."""
    talks: list[Messages] = [[] for _ in models]
    while (line := _asked()) is not None:
        for model, talk in zip(models, talks, strict=True):
            talk.append({"role": "user", "content": line})
            reply = _ask(model, talk, sampling, _printed(model, models))
            talk.append({"role": "assistant", "content": reply.text})


def _asked() -> str | None:
    """The next line that says something, or None at the end."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == "/quit":
            return None
        if line.strip():
            return line.strip()


def _ask(model: "LoadedModel", talk: Messages, sampling: "Sampling", show: Callable[["Reply"], None]) -> "Reply":
    """The finished reply to a talk, whose oldest turns are dropped where it outgrows the context."""
    from ..generation.stream import fitting_prompt, stream

    context = model.folder.context
    ids = fitting_prompt(model.tokenizer, talk, context)
    for reply in stream(model.model, model.tokenizer, ids, sampling, context):
        show(reply)
    return reply


def _unseen(model: "LoadedModel", models: list["LoadedModel"]) -> Callable[["Reply"], None]:
    return lambda reply: None


def _printed(model: "LoadedModel", models: list["LoadedModel"]) -> Callable[["Reply"], None]:
    """Prints a reply on stdout as it grows, under the model's name where there are two, and its speed on stderr."""
    printed = 0

    def show(reply: "Reply") -> None:
        nonlocal printed
        if printed == 0 and len(models) > 1 and reply.text:
            print(f"[{model.name}]")
        print(reply.text[printed:], end="\n" if reply.finished else "", flush=True)
        printed = max(printed, len(reply.text))
        if reply.finished:
            note(f"{len(reply.tokens)} tokens, {reply.tokens_per_second:.0f} tokens per second")

    return show
