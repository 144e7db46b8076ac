"""The arguments and options that several commands share, and the values they stand for."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..allocation import ALLOCATORS, check_ratio
from ..calibration.texts import CHAT, PLUS, SELF, TEXTS
from ..methods import METHODS
from ..study.recipe import Recipe


def menu(registry: dict[str, Any], field: str) -> str:
    """The registry's entries and the recipe's default among them, as help text."""
    entries = " ".join(f"{key}: {entry.line}" for key, entry in registry.items())
    return f"{entries} By default {Recipe.model_fields[field].default}."


def complete(registry: Iterable[str]):
    """A completion function for the registry's keys."""
    return lambda: list(registry)


def complete_text(incomplete: str) -> list[str]:
    """The names a text may begin with, or the next part of a mix."""
    before, plus, last = incomplete.rpartition(PLUS)
    names = (*TEXTS, *(CHAT + name for name in TEXTS if name != SELF))
    return [before + plus + name for name in names if name.startswith(last)]


NAMED = (
    f"a UTF-8 file, or one of {', '.join(TEXTS)}; after {CHAT} in the model's chat template; "
    f"several with weights, as in demo:2{PLUS}c4-sample:1"
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="demo, a model folder, or a hub id.", show_default=False)]
ModelOrDir = Annotated[
    str,
    typer.Argument(metavar="MODEL_OR_DIR", help="demo, a folder or a hub id, compressed or not.", show_default=False),
]
Method = Annotated[
    str,
    typer.Option(metavar="METHOD", help=menu(METHODS, "method"), autocompletion=complete(METHODS), show_default=False),
]
Allocator = Annotated[
    str,
    typer.Option(
        metavar="ALLOCATOR", help=menu(ALLOCATORS, "allocator"), autocompletion=complete(ALLOCATORS), show_default=False
    ),
]
Calibrate = Annotated[
    str,
    typer.Option(metavar="TEXT", help=f"Calibration text: {NAMED}.", autocompletion=complete_text, show_default=False),
]
Ratios = Annotated[
    list[str], typer.Option(metavar="R…", help="Shares to remove, above 0 and below 1.", show_default=False)
]

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="cpu or cuda; by default cuda where there is one.", show_default=False)
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE",
        help="float32, bfloat16 or float16; by default as stored; on a CPU, demo in float32 and float16 as bfloat16.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="0 takes calibration windows from the text's start, others draw them.")]
Windows = Annotated[int, typer.Option(min=1, metavar="N", help="Windows read from the text.")]
Window = Annotated[
    int,
    typer.Option(
        min=2,
        metavar="T",
        help="Tokens per window; by default 256 on a CPU, 2048 on a GPU, at most the model's context.",
        show_default=False,
    ),
]
ProbeWindows = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Of the calibration windows, how many a sensitivity point is measured on."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Save the compressed model there.", show_default=False)]


def ratio_of(value: str | float, zero: bool = False) -> float:
    """The ratio a user wrote; BadValue where it is none. `zero`: 0 is one, too."""
    with contextlib.suppress(ValueError):  # check_ratio says what is wrong with it
        value = float(value)
    return 0.0 if zero and value == 0 else check_ratio(value)


def ratios_of(values: Iterable[str | float]) -> tuple[float, ...]:
    """The ratios a user wrote, each once, in that order."""
    return tuple(dict.fromkeys(ratio_of(v) for v in values))


def keep_of(ratio: float) -> float:
    """The kept share of a ratio, as the candidates spell it."""
    return round(1 - ratio, 9)
