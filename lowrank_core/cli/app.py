"""The commands under their names, and the way from an argument list to an exit code."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from . import bench, bench_kv, cache, chat, compress, evaluate, export, inspect, sensitivity
from .relay import edge, note
from .variadic import Variadic

PROGRAM = "python -m lowrank_core"

app = typer.Typer(name=PROGRAM, add_completion=False, pretty_exceptions_enable=False)
for command in (
    inspect.inspect,
    sensitivity.sensitivity,
    compress.compress,
    evaluate.evaluate,
    chat.chat,
    export.export,
):
    app.command(cls=Variadic)(command)
bench.app.command(cls=Variadic)(bench_kv.kv)
app.add_typer(bench.app, name="bench")
app.add_typer(cache.app, name="cache")


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show where a failure came from.")] = False,
    token: Annotated[
        str,
        typer.Option("--token", metavar="TOKEN", help="For gated models of the Hub; HF_TOKEN keeps it unseen."),
    ] = None,
) -> None:
    """Low-rank compression of language models, seen and measured.

    MODEL is demo, a model folder, or a hub id: owner/name or owner/name@revision.
    TEXT is the name of a text, a UTF-8 file, or a mix; a ratio is the share removed.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command line: 0, 1 (our mistake), 2 (the user's) or 130 (stopped)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = _without_token([a for a in given if a != "--debug"]) or ["--help"]  # both may stand anywhere
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _warn_in_one_line()
    command = typer.main.get_command(app)
    return edge(lambda: command.main(given, prog_name=PROGRAM, standalone_mode=False), debug)


def _without_token(given: list[str]) -> list[str]:
    """The arguments without --token, whose value goes where the Hub's client looks for it, and nowhere else."""
    left = []
    for i, argument in enumerate(given):
        name, equals, value = argument.partition("=")
        if i and given[i - 1] == "--token":
            os.environ["HF_TOKEN"] = argument
        elif name == "--token" and equals:
            os.environ["HF_TOKEN"] = value
        elif argument != "--token":
            left.append(argument)
    return left


def _warn_in_one_line() -> None:
    """Warnings of this package become notes on stderr; other libraries' are not for the user."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module=r"lowrank_core(\.|$)")
    warnings.showwarning = lambda message, *where, **more: note(str(message))
