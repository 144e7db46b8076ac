"""`compress`: the whole way, from a text to a smaller model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..allocation import ALLOCATORS
from ..errors import BadValue
from ..jobs import Job
from ..kv.methods import KV_METHODS
from ..kv.plan import check_kv_ratio
from ..settings import CALIBRATION_WINDOWS
from ..study.recipe import NO_RATIO, STORAGES, Recipe, read_recipe, recipe_of
from ..study.spelling import settings_of
from .opening import dense_folder, open_bench
from .options import (
    Allocator,
    Calibrate,
    Device,
    Dtype,
    Json,
    Method,
    Model,
    Out,
    ProbeWindows,
    Window,
    complete,
    menu,
    ratio_of,
)
from .output import emit, table
from .relay import relay

if TYPE_CHECKING:
    from ..study.compress import Compressed

Ratio = Annotated[
    str,
    typer.Option(
        metavar="R", help="Share of the layers' parameters to remove, above 0 and below 1.", show_default=False
    ),
]
KVRatio = Annotated[
    str,
    typer.Option(
        "--kv-ratio",
        metavar="R",
        help="Share of every token's keys and values that the cache does not store, from 0 and below 1.",
        show_default=False,
    ),
]
KVMethodName = Annotated[
    str,
    typer.Option(
        "--kv-method",
        metavar="METHOD",
        help=menu(KV_METHODS, "kv_method"),
        autocompletion=complete(KV_METHODS),
        show_default=False,
    ),
]
KVHeads = Annotated[
    int,
    typer.Option(
        "--kv-heads",
        metavar="N",
        min=1,
        help="Key and value heads that share a basis; by default all of a block. Fewer lose more; where heads are wide "
        "and many, they rebuild faster.",
        show_default=False,
    ),
]
RecipeFile = Annotated[
    str,
    typer.Option(
        "--recipe", metavar="best|FILE.yaml", help="Fills in whatever the other options do not set.", show_default=False
    ),
]
More = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE…",
        help="Any other field of a recipe, as YAML on one line: --set multiple=8 'dense_roles=[q, k]'.",
        show_default=False,
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="STORAGE",
        help=" ".join(f"{k}: {v}." for k, v in STORAGES.items()) + " By default factored.",
        autocompletion=lambda: list(STORAGES),
        show_default=False,
    ),
]
Windows = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help=f"Calibration windows; by default {CALIBRATION_WINDOWS}.", show_default=False
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        help="0, the default, takes calibration windows from the text's start, others draw them.", show_default=False
    ),
]


def compress(
    model: Model,
    ratio: Ratio = None,
    kv_ratio: KVRatio = None,
    recipe: RecipeFile = None,
    method: Method = None,
    allocator: Allocator = None,
    calibrate: Calibrate = None,
    out: Out = None,
    storage: Storage = None,
    kv_method: KVMethodName = None,
    kv_heads: KVHeads = None,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = None,
    windows: Windows = None,
    window: Window = None,
    probe_windows: ProbeWindows = None,
    more: More = None,
) -> None:
    """A smaller model: calibrate, factorize, choose ranks, exchange the layers, and save where --out says."""
    flags = {
        "model": model,
        "ratio": None if ratio is None else ratio_of(ratio, zero=True),
        "kv_ratio": None if kv_ratio is None else check_kv_ratio(kv_ratio),
        "kv_method": kv_method,
        "kv_heads": kv_heads,
        "method": method,
        "seed": seed,
        "allocator": allocator,
        "text": calibrate,
        "windows": windows,
        "window": window,
        "probe_windows": probe_windows,
        "storage": storage,
    }
    settled = settle({**flags, **settings_of(more or ())}, recipe)
    dense_folder(model, device)
    compressed, written = relay(_compress(settled, out, device, dtype))
    emit(_record(compressed, out, written), json, _show)


def settle(flags: dict[str, Any], recipe: str | None) -> Recipe:
    """The Recipe of the flags that are set, over the recipe file, over the defaults; BadValue without any ratio.

    A KV ratio alone leaves the weights dense.
    """
    values = {**(read_recipe(recipe) if recipe else {}), **{k: v for k, v in flags.items() if v is not None}}
    if "ratio" not in values and "target" not in values:
        if "kv_ratio" not in values:
            raise BadValue("No ratio is given.", NO_RATIO[1])
        values["ratio"] = 0.0
    return recipe_of(values)


def _compress(
    recipe: Recipe, out: Path | None, device: str | None, dtype: str | None
) -> Job[tuple["Compressed", int | None]]:
    """The Compressed model, and the bytes written where it was saved."""
    from ..study.compress import Clock, run
    from ..study.steps import save

    clock = Clock()
    bench = open_bench(recipe, device, dtype)
    clock.lap("load")
    compressed = yield from run.steps(recipe, bench.store, loaded=bench.loaded, consume=True)
    compressed.seconds["load"] += clock.seconds["load"]
    if out is None:
        return compressed, None
    clock = Clock()
    written = save(compressed, out, recipe.storage)
    clock.lap("save")
    compressed.seconds.update(clock.seconds)
    return compressed, written


def _record(compressed: "Compressed", out: Path | None, written: int | None) -> dict[str, Any]:
    recipe, before, after = compressed.recipe, compressed.parameters_before, compressed.parameters_after
    storage = recipe.storage
    after = before if storage == "merged" else after
    found = {
        "model": recipe.model,
        "method": recipe.method,
        "allocator": recipe.allocator,
        "calibrate": recipe.text,
        "storage": storage,
        "dtype": compressed.loaded.dtype,
        "ratio_asked": recipe.ratio,
        "ratio_achieved": compressed.ratio_achieved,
        "params_before": before,
        "params_after": after,
        "bytes_before": before * compressed.element_size,
        "bytes_after": after * compressed.element_size,
        "ranks": compressed.ranks,
        "predicted_nll": compressed.predicted_nll,
        "seconds": compressed.seconds,
        **kv_record(compressed),
    }
    return found if out is None else {**found, "out": str(out), "bytes_written": written}


def kv_record(compressed: "Compressed") -> dict[str, Any]:
    """What JSON says of the KV cache; bytes per token are counted from shapes, `bench kv` counts stored tensors."""
    if compressed.kv_plan is None:
        return {"kv_ratio_asked": 0.0, "kv_ratio_achieved": 0.0}
    units, plan, size = compressed.kv.units, compressed.kv_plan, compressed.element_size
    return {
        "kv_ratio_asked": compressed.recipe.kv_ratio,
        "kv_ratio_achieved": compressed.kv_ratio_achieved,
        "kv_bytes_per_token_before": sum(u.parameters for u in units) * size,
        "kv_bytes_per_token_after": plan.stored(units) * size,
        "kv_latents": dict(plan.ranks),
        "kv_dense_blocks": {str(block): why for block, why in compressed.kv.dense.items()},
    }


def _show(found: dict) -> None:
    rows = [(path, rank) for path, rank in found["ranks"].items()]
    label = ALLOCATORS[found["allocator"]].label
    table(f"{found['model']} by {found['method']}, ranks by {label}", ("site", "rank"), rows)
    print(f"Removed {found['ratio_achieved']:.4f} of the layers' parameters, {found['ratio_asked']:g} was asked.")
    print(
        f"Parameters {found['params_before']:,} → {found['params_after']:,}, "
        f"bytes {found['bytes_before']:,} → {found['bytes_after']:,} ({found['dtype']}, {found['storage']})."
    )
    print(f"Predicted loss above dense: {found['predicted_nll']:.4f} nats per token; `evaluate` measures it.")
    if found["kv_ratio_asked"]:
        print(
            f"KV cache per token {found['kv_bytes_per_token_before']:,} → {found['kv_bytes_per_token_after']:,} bytes "
            f"({found['kv_ratio_achieved']:.4f} not stored)."
        )
        for block, why in found["kv_dense_blocks"].items():
            print(f"The cache of block {block} stays as it is: {why}.")
    print("Seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in found["seconds"].items()))
    if "out" in found:
        print(f"Saved to {found['out']}: {found['bytes_written']:,} bytes.")
