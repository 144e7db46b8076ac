"""What a command found, on stdout: one JSON object, or tables for people."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 160  # columns where stdout is no terminal


def emit(found: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    """Print what was found as one JSON object, or let `show` print it. A number that is not finite is an error."""
    if as_json:
        print(json.dumps(found, allow_nan=False), flush=True)
    else:
        show(found)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> None:
    """Print a table below its title: numbers right, text left; and its caption, which holds the setting, below it."""
    rows = [list(row) for row in rows]
    drawn = Table()
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        drawn.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell(v)) for v in row))
    print(title)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(drawn)
    if caption:
        print(caption)


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "dense"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
