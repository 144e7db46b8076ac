"""What the loader says before anything is loaded: which models fit, what one needs, how many tokens a text has.

Nothing here imports torch: a model's configuration and tokenizer are enough.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

from ..calibration.texts import TEXTS, Text, is_own, read_text
from ..errors import LowRankError
from ..models.room import available, in_dtype, needed, slow_bfloat16
from ..models.suggestions import SUGGESTIONS, Suggestion, fitting
from ..models.where import DEMO, ModelFolder, hub_id, locate, weight_bytes
from ..settings import CPU_WINDOW, GPU_WINDOW, WORKING_ROOM
from ..study.recipe import Recipe
from .host import Host
from .house import House
from .residents import AUTOMATIC, Way
from .running import told
from .squeeze_handlers import calibrated
from .view import View
from .words import count, size

WIDTHS = ("hidden_size", "intermediate_size", "ffn_dim", "ffn_hidden_size", "n_embd", "n_inner")  # in configurations
KEPT = "The earlier model stays loaded."
STOPPED = f"Stopped. {KEPT}"
BYTES_PER_TOKEN = 4  # of a text whose tokenizer is not here


def ways() -> tuple[list, list]:
    """(label, value) of the devices and of the dtypes that a model can be loaded on and in by hand."""
    return [("automatic", ""), "cpu", "cuda"], [("automatic", ""), "float32", "bfloat16", "float16"]


def device(way: Way = AUTOMATIC) -> str:
    """The device a model would be loaded on, as far as it is known without importing torch."""
    if way.device:
        return way.device
    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"


def choices(host: Host) -> list[tuple[str, str]]:
    """(label, name) of the bundled model and of what fits this machine, or this host's limit, from small to large."""
    room = available(device()) / WORKING_ROOM
    found = fitting(int(min(room, host.model_bytes or room)))
    return [("demo: the bundled model, 6.6 M parameters", DEMO), *((label(s), s.id) for s in found)]


def label(suggestion: Suggestion) -> str:
    """A suggestion with its size: Qwen/Qwen3-0.6B · 596 M parameters, 1.19 GB."""
    gated = ", gated" if suggestion.gated else ""
    return f"{suggestion.id} · {count(suggestion.millions * 1e6)} parameters, {size(suggestion.bytes())}{gated}"


def estimate(host: Host, name: str, text: str, upload: str | None = None, way: Way = AUTOMATIC) -> str:
    """What loading a model, in a way, and calibrating it on a text would take, before either."""
    name = name.strip()
    lines = []
    try:
        host.check_model(name)
        folder = _at_hand(name)
        lines.append(memory_line(host, name, folder, way))
        lines.append(tokens_line(read_text(upload or text), folder, device(way)))
    except LowRankError as error:
        lines.append(f"{error.message} {error.hint}")
    return "\n\n".join(filter(None, lines))


def _at_hand(name: str) -> ModelFolder | None:
    """The folder of a model that need not be downloaded; None of one that must be."""
    try:
        return locate(name)
    except LowRankError:
        if hub_id(name) is None:
            raise
        return None


def memory_line(host: Host, name: str, folder: ModelFolder | None, way: Way = AUTOMATIC) -> str:
    """What a model weighs, what working on it takes, and what there is."""
    where, free = device(way), available(device(way))
    dtype = way.dtype or (folder.dtype_on(where) if folder else "bfloat16")
    if folder is not None:
        stored = weight_bytes(folder.path)
        weights = in_dtype(stored, folder.config, dtype)
        what = "On this machine, saved compressed:" if folder.compressed else "On this machine"
    else:
        suggestion = next((s for s in SUGGESTIONS if s.id == hub_id(name).id), None)
        if suggestion is None:
            return "Not downloaded. The Hub is asked for its size first: what does not fit is not downloaded."
        stored, what = suggestion.bytes(), "A download of"
        weights = 2 * stored if dtype == "float32" else stored
        what = "Gated: accept its terms on the Hub first. " + what if suggestion.gated else what
    as_loaded = f", {size(weights)} in {dtype}" if weights != stored else ""
    line = f"{what} {size(stored)} of weights{as_loaded}; about {size(needed(weights))} of {where.upper()} memory "
    line += f"to work on, {size(free)} are free."
    if where == "cpu" and dtype == "bfloat16" and not host.public and slow_bfloat16():
        line += " This CPU computes bfloat16 slowly: float32 is faster, where it fits."
    limit = host.model_bytes
    if limit is not None and weights > limit:
        return f"**Too large for this host, which takes {size(limit)}.** {line}"
    return line if needed(weights) <= free else f"**Too large for this machine.** {line}"


def tokens_line(text: Text, folder: ModelFolder | None, where: str = "cpu") -> str:
    """How many tokens of the text are read, and whether they are too few to tell a layer's inputs apart."""
    context = folder.context if folder else CPU_WINDOW
    window = min(CPU_WINDOW if where == "cpu" else GPU_WINDOW, context)
    asked = Recipe().windows * window
    if is_own(text):
        return f"The model writes {asked:,} tokens itself, which takes a while."
    tokens, exact = tokens_of(text, folder, asked)
    read = min(tokens, asked) // window * window
    about = "" if exact else "about "
    line = f"Calibration: {about}{read:,} tokens of {text.label!r} ({read // window} × {window})."
    if read == 0:
        return f"**Too few tokens:** {text.label!r} has {about}{tokens:,}, one window takes {window}."
    widest = max((int(folder.config.get(k) or 0) for k in WIDTHS), default=0) if folder else 0
    if read < widest:
        return (
            f"**Too few tokens.** {line} The widest layer has {widest:,} inputs: from fewer tokens than that their "
            "second moment is singular, and the compressed model follows the text too closely. Take a longer one."
        )
    if read < asked:
        return f"{line} The text is shorter than the {asked:,} tokens that are read of longer ones."
    return line


def tokens_of(text: Text, folder: ModelFolder | None, enough: int) -> tuple[int, bool]:
    """How many tokens a text has, counted no further than about twice `enough`; and whether they were counted."""
    content = "\n".join(part.content for part, _ in text.parts) if hasattr(text, "parts") else text.content
    file = Path(folder.path) / "tokenizer.json" if folder else None
    if file is None or not file.exists():
        return len(content.encode()) // BYTES_PER_TOKEN, False
    from tokenizers import Tokenizer

    tokenizer, tokens = Tokenizer.from_file(str(file)), 0
    for most in (4, 16):  # characters per token; no tokenizer makes longer ones than 16 on average
        piece = content[: most * enough]
        tokens = len(tokenizer.encode(piece, add_special_tokens=False).ids)
        if tokens >= enough or piece == content:
            break
    return tokens, True


def load(
    house: House, recipe: Recipe, token: str | None, session: str, way: Way = AUTOMATIC
) -> Generator[tuple[str, View | None]]:
    """Lines that say how loading goes, and with the last one the View of the model, calibrated; none where it was
    stopped, by a newer turn. A download does not hold the device."""
    turn = house.next_turn(session)
    yield "Loading …", None
    with house.jobs.running(session) as job:
        for _, line in job.following(told(house.waiting(house.opening(recipe.model, token, way), session, turn))):
            yield line, None
    if house.visit(session).turn == turn:
        for _, line in calibrated(house, recipe, session, turn):
            yield line, None
    view = house.view(recipe) if house.visit(session).turn == turn else None
    yield ("", view) if view and view.ready else (STOPPED, None)


def text_choices() -> list[tuple[str, str]]:
    """(label, name) of the calibration texts."""
    return [(t.label, k) for k, t in TEXTS.items()]
