"""Rows of a benchmark as tables: aggregated over seeds, as Markdown between a file's markers (no torch here)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadValue
from .grid import Quality


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


VALUES = {
    "nll": ("Nats per token above dense", "nll_above_dense"),
    "perplexity": ("Perplexity", "perplexity"),
    "kl": ("KL divergence from the dense model, nats per token,", "kl"),
    "agreement": ("Share of tokens with the dense model's likeliest token", "agreement"),
}


MEASURED = {  # how the sensitivity tables came about
    None: "the whole table for strs and none for others, each point",
    "none": "nothing measured, none",
    "settled": "strs and waterfill measured until settled, each point at most",
    "table": "the whole table for strs and waterfill, each point",
}


def summaries(found: Quality, value: str = "nll") -> list[Summary]:
    """One Summary per calibration text and test text, of one of VALUES."""
    return [_summary(found, calibrate, text, value) for text in found.grid.texts for calibrate in found.grid.calibrate]


def markdown(found: Quality, value: str = "nll") -> str:
    """All tables of a run, each under its caption."""
    return "\n\n".join(
        f"{s.caption}\n\n{_table([s.columns, ['---'] * len(s.columns), *s.rows])}" for s in summaries(found, value)
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


def _summary(found: Quality, calibrate: str, text: str, value: str) -> Summary:
    grid = found.grid
    rows = []
    for label in grid.labels():
        which = (calibrate, text, *label)
        of = [r for r in found.rows if (r.calibrate, r.text, r.method, r.allocator, r.storage) == which]
        cells = (_cell([getattr(r, VALUES[value][1]) for r in of if r.ratio_asked == ratio]) for ratio in grid.ratios)
        rows.append((*label, *cells))
    return Summary(
        text,
        ("method", "allocator", "storage", *(f"ratio {r:g}" for r in grid.ratios)),
        tuple(rows),
        _caption(found, calibrate, text, value),
    )


def _cell(values: list[float]) -> str:
    if not values:
        return "–"  # no such combination: a ratio out of reach
    mean, spread = mean_and_spread(values)
    digits = 3 if abs(mean) < 10 else 2 if mean < 100 else 1 if mean < 1000 else 0
    return f"{mean:,.{digits}f}" + (f" ± {spread:,.{digits}f}" if len(values) > 1 else "")


def _caption(found: Quality, calibrate: str, text: str, value: str) -> str:
    grid, dense = found.grid, found.dense[text]
    seeds = ", ".join(map(str, grid.seeds))
    spread = ", mean ± half the range over seeds" if len(grid.seeds) > 1 else ""
    return (
        f"{VALUES[value][0]} on {text} ({dense.setting.windows} × {dense.setting.window} tokens){spread}; "
        f"the dense model has perplexity {dense.perplexity:.3f}. "
        f"Model {grid.model} in {found.dtype} on {found.device}, calibrated on {calibrate} "
        f"(at most {grid.windows} × {dense.setting.window} tokens, {MEASURED[grid.measure]} on {grid.probe_windows}), "
        f"seed {seeds}. Ratio: the share of the layers' parameters removed."
    )


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
