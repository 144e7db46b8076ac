"""Rows of a benchmark as tables: aggregated over seeds, as Markdown between a file's markers (no torch here)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadValue
from .grid import Quality, Row


@dataclass(frozen=True)
class Summary:
    """One table: a test text and a calibration text; a row per method × allocator, a column per ratio."""

    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the range."""
    return sum(values) / len(values), (max(values) - min(values)) / 2


def summaries(found: Quality) -> list[Summary]:
    """One Summary per calibration text and test text."""
    return [_summary(found, calibrate, text) for text in found.grid.texts for calibrate in found.grid.calibrate]


def markdown(found: Quality) -> str:
    """All tables of a run, each under its caption."""
    return "\n\n".join(
        f"{s.caption}\n\n{_table([s.columns, ['---'] * len(s.columns), *s.rows])}" for s in summaries(found)
    )


def between_markers(file: Path, name: str, content: str) -> str:
    """The file's text with `content` between `<!-- bench NAME -->` and `<!-- /bench NAME -->`.

    A file that does not exist is the two markers alone; BadValue where one that does lacks them or cannot be read.
    """
    first, last = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    try:
        text = file.read_text("utf-8") if file.exists() else f"{first}\n{last}\n"
    except (OSError, UnicodeDecodeError):
        raise BadValue(f"The file {str(file)!r} cannot be read.", "Give a Markdown file in UTF-8.") from None
    before, found, rest = text.partition(first)
    _, closed, after = rest.partition(last)
    if not found or not closed:
        raise BadValue(f"{str(file)!r} has no place for the table.", f"Put the lines {first} and {last} into it.")
    return f"{before}{first}\n{content}\n{last}{after}"


def _summary(found: Quality, calibrate: str, text: str) -> Summary:
    grid = found.grid
    rows = []
    for method in grid.methods:
        for allocator in grid.allocators:
            which = (calibrate, text, method, allocator)
            of = [r for r in found.rows if (r.calibrate, r.text, r.method, r.allocator) == which]
            cells = (_cell([r for r in of if r.ratio_asked == ratio]) for ratio in grid.ratios)
            rows.append((method, allocator, *cells))
    return Summary(
        text,
        ("method", "allocator", *(f"ratio {r:g}" for r in grid.ratios)),
        tuple(rows),
        _caption(found, calibrate, text),
    )


def _cell(rows: list[Row]) -> str:
    mean, spread = mean_and_spread([r.perplexity for r in rows])
    digits = 3 if mean < 10 else 2 if mean < 100 else 1 if mean < 1000 else 0
    return f"{mean:,.{digits}f}" + (f" ± {spread:,.{digits}f}" if len(rows) > 1 else "")


def _caption(found: Quality, calibrate: str, text: str) -> str:
    grid, dense = found.grid, found.dense[text]
    seeds = ", ".join(map(str, grid.seeds))
    spread = ", mean ± half the range over seeds" if len(grid.seeds) > 1 else ""
    return (
        f"Perplexity on {text} ({dense.setting.windows} × {dense.setting.window} tokens){spread}; the dense model has "
        f"{dense.perplexity:.3f}. Model {grid.model} in {found.dtype} on {found.device}, calibrated on {calibrate} "
        f"(at most {grid.windows} × {dense.setting.window} tokens, {grid.probe_windows} windows per sensitivity "
        f"point), seed {seeds}. Ratio: the share of the layers' parameters removed."
    )


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
