"""`bench decode`: how fast dense and compressed models read and write, side by side, in one run."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..bench import speeds
from ..errors import BadValue
from ..study.recipe import STORAGES, Recipe, choose
from .opening import dense_folder, quiet
from .options import Allocator, Device, Json, Method, Ratios, ratios_of
from .output import emit, table
from .relay import note, relay

if TYPE_CHECKING:
    from ..bench.decode import Lap

DTYPES = ("float32", "bfloat16", "float16")
RATIOS = (0.2, 0.3, 0.5)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"demo, a model folder, or {speeds.RANDOM} and one of {', '.join(speeds.SHAPES)}: random weights and "
        "factors of that shape, to be timed and nothing else.",
        show_default=False,
    ),
]
Dtypes = Annotated[
    list[str],
    typer.Option(metavar="DTYPE…", help=f"Of {', '.join(DTYPES)}; by default as stored.", show_default=False),
]
Batches = Annotated[
    list[int], typer.Option(min=1, metavar="N…", help="Sequences side by side; by default 1 and 8.", show_default=False)
]
Contexts = Annotated[
    list[int],
    typer.Option(
        min=1, metavar="T…", help="Tokens before those decoded; by default 128, 512 and 2048.", show_default=False
    ),
]
Storage = Annotated[str, typer.Option(metavar="STORAGE", help="factored or pivoted.")]
Repeats = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; the median counts.")]
Tokens = Annotated[int, typer.Option(min=1, metavar="N", help="Tokens decoded in every round.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Run the models as they load, not in the forms that are fastest here.")
]
Threads = Annotated[int, typer.Option(min=1, metavar="N", help="CPU threads; by default all.", show_default=False)]


def decode(
    model: Model,
    ratio: Ratios = None,
    dtypes: Dtypes = None,
    batches: Batches = None,
    contexts: Contexts = None,
    storage: Storage = "factored",
    method: Method = None,
    allocator: Allocator = None,
    repeats: Repeats = 7,
    tokens: Tokens = 8,
    plain: Plain = False,
    threads: Threads = None,
    json: Json = False,
    device: Device = None,
) -> None:
    """Tokens per second of the dense and the compressed model, in turns, beside what their bytes allow."""
    for dtype in dtypes or ():
        if dtype not in DTYPES:
            raise BadValue(f"There is no dtype {dtype!r}.", f"Give one of {', '.join(DTYPES)}.")
    if choose(STORAGES, storage, "storage") and storage == "merged":
        raise BadValue("A merged model is as large and as fast as the dense one.", "Give factored or pivoted.")
    ratios = ratios_of(ratio or RATIOS)
    flags = {"method": method, "allocator": allocator}
    recipe = {k: v for k, v in flags.items() if v is not None}
    if speeds.is_random(model):
        speeds.shape(model)
    else:
        Recipe(ratio=ratios[0], **recipe)
        dense_folder(model)
    quiet()
    import torch

    from ..bench.decode import Race
    from ..bench.decode import decode as measure

    if threads is not None:
        torch.set_num_threads(threads)
    race = Race(
        model,
        ratios,
        tuple(dict.fromkeys(dtypes or ())),
        storage,
        tuple(dict.fromkeys(batches or (1, 8))),
        tuple(dict.fromkeys(contexts or (128, 512, 2048))),
        repeats,
        tokens,
        plain,
        recipe,
    )
    laps = relay(measure.steps(race, device))
    if not laps:
        note("Every context is longer than the model reads; --contexts N gives shorter ones.")
    rows = [lap.record() for lap in laps]
    emit({"model": model, "torch": torch.__version__, "rows": rows}, json, lambda _: show(model, laps))


def show(model: str, laps: list["Lap"]) -> None:
    """Print one line for every compressed model at every batch and context."""
    lines = speeds.lines(laps)
    table(f"Tokens per second of {model}", speeds.COLUMNS, lines, speeds.caption(laps))
