"""`bench kv`: the KV cache as latents, by method, allocator and ratio."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..bench import tables
from ..calibration.texts import read_text
from ..errors import BadValue
from ..kv.methods import KV_METHODS
from ..kv.plan import KV_ALLOCATORS, check_kv_ratio
from ..settings import CALIBRATION_WINDOWS, EVALUATION_WINDOWS, SEED
from ..study.recipe import Recipe, choose
from .bench import Tests, TestWindows
from .evaluate import record
from .opening import dense_folder, quiet, recipe_from, say_text
from .options import Calibrate, Device, Dtype, Json, Model, Seed, Window, Windows, complete
from .output import emit, table
from .relay import note, relay

if TYPE_CHECKING:
    from ..bench.kv import KVBench

RATIOS = (0.25, 0.5, 0.75)
KVRatios = Annotated[
    list[str],
    typer.Option(
        "--ratios",
        metavar="R…",
        help="Shares of each token's keys and values not to store, above 0 and below 1; by default 0.25 0.5 0.75.",
        show_default=False,
    ),
]
Methods = Annotated[
    list[str],
    typer.Option(
        metavar="METHOD…",
        help=f"By default all: {', '.join(KV_METHODS)}.",
        autocompletion=complete(KV_METHODS),
        show_default=False,
    ),
]
Allocators = Annotated[
    list[str],
    typer.Option(
        metavar="ALLOCATOR…",
        help=f"By default all: {', '.join(KV_ALLOCATORS)}.",
        autocompletion=complete(KV_ALLOCATORS),
        show_default=False,
    ),
]
Heads = Annotated[
    list[str],
    typer.Option(
        "--heads",
        metavar="N…",
        help="Key and value heads that share a basis, all or a number; by default all.",
        show_default=False,
    ),
]
Markdown = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="Write the tables between <!-- bench kv --> and <!-- /bench kv --> in FILE.",
        show_default=False,
    ),
]


def kv(
    model: Model,
    calibrate: Calibrate = None,
    text: Tests = None,
    ratios: KVRatios = None,
    methods: Methods = None,
    allocators: Allocators = None,
    heads: Heads = None,
    seed: Seed = SEED,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    windows: Windows = CALIBRATION_WINDOWS,
    test_windows: TestWindows = EVALUATION_WINDOWS,
    window: Window = None,
    markdown: Markdown = None,
) -> None:
    """Loss, stored bytes per token and rebuilding time of the KV cache as latents."""
    given = tuple(dict.fromkeys(check_kv_ratio(r) for r in ratios or RATIOS))
    if 0 in given:
        raise BadValue("The KV ratio 0 is the dense model, which is measured anyway.", "Give ratios above 0.")
    chosen = tuple(dict.fromkeys(methods or KV_METHODS)), tuple(dict.fromkeys(allocators or KV_ALLOCATORS))
    for method in chosen[0]:
        choose(KV_METHODS, method, "KV method")
    for allocator in chosen[1]:
        choose(dict.fromkeys(KV_ALLOCATORS), allocator, "KV allocator")
    shared = tuple(dict.fromkeys(_heads(h) for h in heads or ("all",)))
    flags = {"model": model, "text": calibrate, "windows": windows, "window": window, "seed": seed}
    recipe = recipe_from(flags)
    texts = tuple(dict.fromkeys(text or ["demo-test"]))
    _check(recipe, texts, markdown)
    if not calibrate:
        say_text()
    quiet()
    from ..bench.kv import kv as measure
    from ..bench.kv import markdown as written

    steps = measure.steps(recipe, texts, given, *chosen, test_windows, heads=shared, device=device, dtype=dtype)
    found = relay(steps)
    if markdown is not None:
        markdown.write_text(tables.between_markers(markdown, "kv", written(found)), "utf-8")
        note(f"Written to {markdown}.")
    dense = [
        {**record(name, m), "bytes_per_token": found.dense_bytes_per_token, "step_ms": found.step_ms}
        for name, m in found.dense.items()
    ]
    rows = [asdict(row) for row in found.rows]
    told = {"model": model, "dtype": found.dtype, "device": found.device, "dense": dense, "rows": rows}
    emit(told, json, lambda _: _print(found))


def _heads(word: str) -> int | None:
    """Heads per basis, None for all; BadValue for anything else."""
    if word != "all" and not (word.isdecimal() and int(word)):
        raise BadValue(f"{word!r} is no number of heads.", "Give all, or a number such as 1.")
    return None if word == "all" else int(word)


def _check(recipe: Recipe, texts: tuple[str, ...], file: Path | None) -> None:
    """Nothing; the first mistake in what was named, before torch is loaded."""
    dense_folder(recipe.model)
    for name in (recipe.text, *texts):
        read_text(name)
    if file is not None:
        tables.between_markers(file, "kv", "")


def _print(found: "KVBench") -> None:
    columns = ("method", "allocator", "heads per basis", "KV ratio", "nats above dense", "bytes per token", "of dense")
    contexts = tuple(found.rows[0].rebuild_ms)
    for text, dense in found.dense.items():
        rows = [
            (
                r.method,
                r.allocator,
                "all" if r.heads is None else r.heads,
                r.kv_ratio_asked,
                r.nll_above_dense,
                r.bytes_per_token,
                r.share_of_dense,
                *r.rebuild_ms.values(),
            )
            for r in found.rows
            if r.text == text
        ]
        caption = (
            f"{dense.setting}; dense: perplexity {dense.perplexity:.3f}, "
            f"{found.dense_bytes_per_token:,.1f} bytes per token"
        )
        table(f"{found.model} on {text}", (*columns, *(f"rebuild at {c}, ms" for c in contexts)), rows, caption)
