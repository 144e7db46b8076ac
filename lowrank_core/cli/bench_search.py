"""`bench calibration` and `bench slider`: what the sensitivity search costs, and how quickly a drag is answered."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..bench import speeds
from ..calibration.texts import read_text
from ..errors import BadValue
from ..settings import CALIBRATION_WINDOWS, EVALUATION_WINDOWS, PROBE_WINDOWS
from .opening import dense_folder, quiet, recipe_from, say_text
from .options import (
    Allocator,
    Calibrate,
    Device,
    Dtype,
    Json,
    Method,
    Model,
    ProbeWindows,
    Ratios,
    Window,
    Windows,
    ratios_of,
)
from .output import emit, table
from .relay import relay

if TYPE_CHECKING:
    from ..bench.calibration import Found
    from ..bench.slider import Slider

RATIOS = (0.1, 0.2, 0.3, 0.5)
Test = Annotated[str, typer.Option("--text", metavar="TEXT", help="Held-out text that plans are measured on.")]
TestWindows = Annotated[int, typer.Option(min=1, metavar="N", help="Windows read from the held-out text.")]
BruteSites = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Layers that brute force measures too; by default all.", show_default=False),
]
SliderModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"demo, a model folder, a hub id, or {speeds.RANDOM} and one of {', '.join(speeds.SHAPES)}: random "
        "weights and factors of that shape, of which plans and swaps are timed.",
        show_default=False,
    ),
]
Drags = Annotated[int, typer.Option(min=1, metavar="N", help="Random ratios that are dragged to.")]
Storage = Annotated[str, typer.Option(metavar="STORAGE", help="factored or pivoted.", show_default=False)]
NoPoints = Annotated[bool, typer.Option("--no-points", help="Time plans and swaps only, measure nothing.")]


def calibration(
    model: Model,
    text: Test = "demo-test",
    method: Method = None,
    ratios: Ratios = None,
    brute: BruteSites = None,
    calibrate: Calibrate = None,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    windows: Windows = CALIBRATION_WINDOWS,
    probe_windows: ProbeWindows = PROBE_WINDOWS,
    test_windows: TestWindows = EVALUATION_WINDOWS,
    window: Window = None,
) -> None:
    """The sensitivity search by brute force, as built here, and progressively: its costs, and what its plans lose."""
    asked = ratios_of(ratios or RATIOS)
    recipe = recipe_from(
        {
            "model": model,
            "text": calibrate,
            "method": method,
            "windows": windows,
            "window": window,
            "probe_windows": probe_windows,
            "allocator": "strs",
        }
    )
    dense_folder(model, device)
    for name in (recipe.text, text):
        read_text(name)
    if calibrate is None:
        say_text()
    quiet()
    from ..bench.calibration import Search
    from ..bench.calibration import calibration as measure

    search = Search(recipe, text, asked, brute=brute, test_windows=test_windows)
    found = relay(measure.steps(search, device, dtype))
    rest = {k: v for k, v in asdict(found).items() if k not in ("search", "costs", "outcomes")}
    rows, plans = [asdict(c) for c in found.costs], [asdict(o) for o in found.outcomes]
    emit({"model": model, **rest, "rows": rows, "plans": plans}, json, lambda _: _show_search(found))


def _show_search(found: "Found") -> None:
    search = found.search
    costs = []
    for c in found.costs:
        factoring = "–" if c.seconds_factoring is None else c.seconds_factoring
        costs.append((c.way, c.sites, c.points, c.seconds, factoring, c.forwards, c.tokens))
    halves = "–" if found.halves is None else f"{found.halves:.3f}"
    before = " + ".join(f"{name} {s:.1f} s" for name, s in found.seconds_before.items())
    table(
        f"The sensitivity table of {search.recipe.model}, {search.recipe.method}",
        ("way", "layers", "points", "seconds", "of which factoring", "forwards", "tokens"),
        costs,
        f"{found.costs[0].windows} windows, {found.dtype} on {found.device} with {found.threads} threads. Tokens count "
        f"for the share of the blocks they ran. Exact takes {found.time_ratio:.2f} of brute force's time on the same "
        f"layers ({found.time_ratio_factored:.2f} without the factorizations); their points differ by "
        f"{found.largest_difference:.1e} nats at most. One half of the windows ranks the table as the other half does "
        f"to {halves}. Before either: {before}; settled from nothing at ratio {search.recipe.ratio:g} in "
        f"{found.seconds_settled:.1f} s.",
    )
    table(
        f"Nats per token above dense of the plans, on {search.test}",
        ("table", "allocator", "ratio", "points", "tokens", "share", "rank correlation", "nll above dense", "÷ exact"),
        [tuple(asdict(o).values()) for o in found.outcomes],
        "Rank correlation: with the exact table. Share: of the exact table's tokens, the dense pass among both.",
    )  # fmt: skip


def slider(
    model: SliderModel,
    method: Method = None,
    allocator: Allocator = None,
    storage: Storage = None,
    drags: Drags = 200,
    no_points: NoPoints = False,
    calibrate: Calibrate = None,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    windows: Windows = CALIBRATION_WINDOWS,
    probe_windows: ProbeWindows = PROBE_WINDOWS,
    window: Window = None,
) -> None:
    """Milliseconds from a new ratio to its plan, to the model swapped to it, and to the first point measured for it."""
    recipe = recipe_from(
        {
            "model": model,
            "text": calibrate,
            "method": method,
            "allocator": allocator,
            "storage": storage,
            "windows": windows,
            "window": window,
            "probe_windows": probe_windows,
        }
    )
    if storage == "merged":
        raise BadValue("A merged model has no ranks to drag.", "Give factored or pivoted.")
    if speeds.is_random(model):
        speeds.shape(model)
    else:
        dense_folder(model, device)
        read_text(recipe.text)
        if calibrate is None:
            say_text()
    quiet()
    from ..bench.slider import slider as measure

    found = relay(measure.steps(recipe, drags, not no_points, device, dtype))
    head = {k: v for k, v in asdict(found).items() if k not in ("recipe", "waits")}
    emit({**head, "rows": [asdict(w) for w in found.waits]}, json, lambda _: _show_drags(found))


def _show_drags(found: "Slider") -> None:
    before = "".join(f", {name} {s:.1f} s" for name, s in found.seconds_before.items())
    table(
        f"Milliseconds after a new ratio of {found.model}, {found.recipe.method}, {found.recipe.storage}",
        ("until", "drags", "p50", "p95", "most"),
        [(w.stage, w.drags, w.p50, w.p95, w.most) for w in found.waits],
        f"{found.units} units, {found.recipe.allocator}, {found.dtype} on {found.device} with {found.threads} threads. "
        f"Plan and swap each alone, point from the drag on; drags whose plan had settled measured none{before}.",
    )
