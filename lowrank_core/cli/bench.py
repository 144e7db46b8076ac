"""`bench`: `quality`, methods, allocators and ratios side by side, in one run; `decode`, `calibration` and `slider`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..allocation import ALLOCATORS
from ..bench import tables
from ..bench.grid import Grid
from ..calibration.texts import TEXTS, read_text
from ..errors import BadValue
from ..methods import METHODS
from ..settings import CALIBRATION_WINDOWS, EVALUATION_WINDOWS, PROBE_WINDOWS, SEED
from ..study.recipe import MEASURES, PRESETS, Recipe, choose
from .bench_decode import decode
from .bench_search import calibration, slider
from .evaluate import record
from .opening import dense_folder, quiet, say_text
from .options import NAMED, Device, Dtype, Json, Model, ProbeWindows, Ratios, Window, Windows, complete, ratios_of
from .output import emit, table
from .relay import note, relay
from .variadic import Variadic

if TYPE_CHECKING:
    from ..bench.grid import Quality

app = typer.Typer()

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
Calibrations = Annotated[
    list[str],
    typer.Option(
        "--calibrate",
        metavar="TEXT…",
        help=f"Calibration texts: {NAMED}.",
        autocompletion=complete(TEXTS),
        show_default=False,
    ),
]
Tests = Annotated[
    list[str],
    typer.Option(
        "--text",
        metavar="TEXT…",
        help="Texts to test on; by default demo-test.",
        autocompletion=complete(TEXTS),
        show_default=False,
    ),
]
Methods = Annotated[
    list[str],
    typer.Option(
        metavar="METHOD…",
        help=f"By default all: {', '.join(METHODS)}.",
        autocompletion=complete(METHODS),
        show_default=False,
    ),
]
Allocators = Annotated[
    list[str],
    typer.Option(
        metavar="ALLOCATOR…",
        help=f"By default all: {', '.join(ALLOCATORS)}.",
        autocompletion=complete(ALLOCATORS),
        show_default=False,
    ),
]
Seeds = Annotated[
    list[int],
    typer.Option(
        metavar="N…",
        help="0, the default, takes calibration windows from the text's start, others draw them.",
        show_default=False,
    ),
]
Storages = Annotated[
    list[str],
    typer.Option(
        metavar="STORAGE…",
        help="factored, the default, and pivoted.",
        autocompletion=complete(("factored", "pivoted")),
        show_default=False,
    ),
]
Presets = Annotated[
    list[str],
    typer.Option(
        "--recipe",
        metavar="PRESET…",
        help=f"Whole recipes beside the combinations: {', '.join(PRESETS)}, or none; by default all.",
        autocompletion=complete(PRESETS),
        show_default=False,
    ),
]
Show = Annotated[
    str, typer.Option(metavar="VALUE", help=f"What the tables show: {', '.join(tables.VALUES)}; JSON has all.")
]
Plot = Annotated[
    Path,
    typer.Option(metavar="FILE.html", help="Write the rows as a plot: one page, offline.", show_default=False),
]
TestWindows = Annotated[int, typer.Option(min=1, metavar="N", help="Windows read from each test text.")]
Measure = Annotated[
    str,
    typer.Option(
        metavar="WHAT",
        help=f"What is measured before each plan: {', '.join(MEASURES)}; by default what each allocator is made for.",
        show_default=False,
    ),
]
Markdown = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="Write the tables between <!-- bench quality --> and <!-- /bench quality --> in FILE.",
        show_default=False,
    ),
]


@app.callback()
def bench() -> None:
    """Figures, side by side, in one run."""


app.command(cls=Variadic)(decode)
app.command(cls=Variadic)(calibration)
app.command(cls=Variadic)(slider)


@app.command(cls=Variadic)
def quality(
    model: Model,
    calibrate: Calibrations = None,
    text: Tests = None,
    ratios: Ratios = None,
    methods: Methods = None,
    allocators: Allocators = None,
    seeds: Seeds = None,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    windows: Windows = CALIBRATION_WINDOWS,
    test_windows: TestWindows = EVALUATION_WINDOWS,
    window: Window = None,
    probe_windows: ProbeWindows = PROBE_WINDOWS,
    storages: Storages = None,
    recipe: Presets = None,
    measure: Measure = None,
    show: Show = "nll",
    markdown: Markdown = None,
    plot: Plot = None,
) -> None:
    """Loss, perplexity and divergence of every method, allocator, storage, ratio and seed."""
    choose(tables.VALUES, show, "value to show")
    grid = Grid(
        model,
        tuple(dict.fromkeys(calibrate or [Recipe.model_fields["text"].default])),
        tuple(dict.fromkeys(text or ["demo-test"])),
        ratios_of(ratios or RATIOS),
        tuple(dict.fromkeys(methods or METHODS)),
        tuple(dict.fromkeys(allocators or ALLOCATORS)),
        tuple(dict.fromkeys(seeds or [SEED])),
        windows,
        test_windows,
        window,
        probe_windows,
        tuple(dict.fromkeys(storages or ["factored"])),
        () if recipe == ["none"] else tuple(dict.fromkeys(recipe or PRESETS)),
        measure,
    )
    _check(grid, markdown, device)
    if not calibrate:
        say_text()
    quiet()
    from ..bench.quality import quality as measured

    found = relay(measured.steps(grid, device=device, dtype=dtype))
    if markdown is not None:
        write(markdown, found, show)
    if plot is not None:
        draw(plot, found)
    dense = [record(name, m) for name, m in found.dense.items()]
    rows = [asdict(row) for row in found.rows]
    emit(
        {"model": model, "dtype": found.dtype, "device": found.device, "dense": dense, "rows": rows},
        json,
        lambda _: print_tables(found, show),
    )


def _check(grid: Grid, file: Path | None, device: str | None) -> None:
    """Nothing; the first mistake in the grid or the file, before torch is loaded."""
    grid.recipes()
    dense_folder(grid.model, device)
    for name in (*grid.calibrate, *grid.texts):
        read_text(name)
    if file is not None:
        tables.between_markers(file, "quality", "")


def write(file: Path, found: "Quality", value: str) -> None:
    """Put the tables of a run between the file's markers."""
    file.write_text(tables.between_markers(file, "quality", tables.markdown(found, value)), "utf-8")
    note(f"Written to {file}.")


def draw(file: Path, found: "Quality") -> None:
    """Write a page with the loss of every row against its bytes."""
    from ..plots.quality import quality_plot

    pages = [quality_plot(found.rows, text, m.perplexity) for text, m in found.dense.items()]
    try:
        html = [p.to_html(full_html=i == 0, include_plotlyjs=i == 0) for i, p in enumerate(pages)]
        file.write_text("".join(html), "utf-8")
    except OSError as error:
        raise BadValue(f"The file {str(file)!r} cannot be written: {error}.", "Choose another file.") from error
    note(f"Written to {file}.")


def print_tables(found: "Quality", value: str) -> None:
    """Print one table per calibration text and test text."""
    for summary in tables.summaries(found, value):
        table(f"{tables.VALUES[value][0]} on {summary.text}", summary.columns, summary.rows, summary.caption)
