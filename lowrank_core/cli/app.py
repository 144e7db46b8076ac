"""The commands under their names, and the way from an argument list to an exit code."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from . import bench, cache, chat, compress, evaluate, export, inspect, sensitivity
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
app.add_typer(bench.app, name="bench")
app.add_typer(cache.app, name="cache")


@app.callback()
def root(debug: Annotated[bool, typer.Option("--debug", help="Show where a failure came from.")] = False) -> None:
    """Low-rank compression of language models, seen and measured.

    MODEL is demo or a model folder; TEXT is the name of a text, a UTF-8 file, or a mix; a ratio is the share removed.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command line: 0, 1 (our mistake), 2 (the user's) or 130 (stopped)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"] or ["--help"]  # it may stand anywhere
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _warn_in_one_line()
    command = typer.main.get_command(app)
    return edge(lambda: command.main(given, prog_name=PROGRAM, standalone_mode=False), debug)


def _warn_in_one_line() -> None:
    """Warnings of this package become notes on stderr; other libraries' are not for the user."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module=r"lowrank_core(\.|$)")
    warnings.showwarning = lambda message, *where, **more: note(str(message))
