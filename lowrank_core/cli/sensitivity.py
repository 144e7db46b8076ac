"""`sensitivity`: what each site costs when it alone is cut, measured."""

import time
from typing import TYPE_CHECKING, Any

from ..jobs import Job
from ..settings import CALIBRATION_WINDOWS, CANDIDATES, PROBE_WINDOWS, SEED
from ..study.recipe import Recipe
from ..study.units import units_of
from ..types import Measurement
from .opening import dense_folder, open_bench, recipe_from
from .options import (
    Calibrate,
    Device,
    Dtype,
    Json,
    Method,
    Model,
    ProbeWindows,
    Ratios,
    Seed,
    Window,
    Windows,
    keep_of,
    ratios_of,
)
from .output import emit, table
from .relay import relay

if TYPE_CHECKING:
    from ..study.build import Workbench


def sensitivity(
    model: Model,
    method: Method = "asvd-i",
    ratios: Ratios = None,
    calibrate: Calibrate = None,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = SEED,
    windows: Windows = CALIBRATION_WINDOWS,
    window: Window = None,
    probe_windows: ProbeWindows = PROBE_WINDOWS,
) -> None:
    """The loss change of every site at every ratio, alone; forwards and tokens are what this run measured with."""
    keeps = tuple(keep_of(r) for r in ratios_of(ratios)) if ratios else tuple(reversed(CANDIDATES))
    dense_folder(model, device)
    values = {
        "model": model,
        "text": calibrate,
        "method": method,
        "windows": windows,
        "window": window,
        "seed": seed,
        "probe_windows": probe_windows,
    }
    bench = open_bench(recipe_from(values), device, dtype)
    began = time.perf_counter()
    found = relay(_measure(bench, method, keeps))
    probed = min(probe_windows, len(bench.windows))
    head = {"model": bench.loaded.name, "method": method, "setting": str(bench.study.setting(probed))}
    emit({**head, **found, "seconds": time.perf_counter() - began}, json, _show)


def _measure(bench: "Workbench", method: str, keeps: tuple[float, ...]) -> Job[dict[str, Any]]:
    """The points of every site, the dense loss on their windows, and the passes over those windows run for them."""
    units = units_of(bench.loaded.anatomy.sites, Recipe(method=method))
    wanted = [(unit, keep) for keep in keeps for unit in units]
    known = {unit.path: bench.study.points(unit) for unit in units}
    new = sum(keep not in known[unit.path] for unit, keep in wanted)
    if new:
        yield from bench.calibrate()
    points = yield from bench.measure(wanted)
    dense, ran = yield from _dense(bench, probed=new > 0)
    forwards = new + ran
    tokens = min(bench.study.probe_windows, len(bench.windows)) * bench.source.window
    rows = [
        {"path": p.path, "ratio": keep_of(p.keep), "rank": p.rank, "delta_nll": p.delta_nll, "stderr": p.stderr}
        for p in points
    ]
    return {"dense_nll": dense.nll, "points": rows, "forwards": forwards, "tokens": forwards * tokens}


def _dense(bench: "Workbench", probed: bool) -> Job[tuple[Measurement, int]]:
    """The dense model's loss on the probe windows, stored like any evaluation; and the passes this run made for it.

    `probed`: the probe ran for new points already, so that its loss is at hand.
    """
    from ..study import artefacts

    source, text = bench.source, bench.study.text
    windows = min(bench.study.probe_windows, source.windows)
    digest = f"{text.digest}@{source.seed}" if source.seed else text.digest  # seed 0 reads as evaluations do
    key = source.dense_evaluation(digest, windows, source.window)
    stored = bench.store.read(key)
    if stored is not None:
        return artefacts.unpack_measurement(stored), int(probed)
    probe = yield from bench.probe()
    each = probe.dense_nll.tolist()
    scored = len(each) * (source.window - 1)
    found = Measurement(sum(each) / len(each), scored, bench.study.setting(len(each)), tuple(each))
    bench.store.write(key, artefacts.pack_measurement(found))
    return found, 1


def _show(found: dict) -> None:
    columns = ("site", "ratio", "rank", "loss above dense, nats", "± standard error")
    rows = [[p["path"], p["ratio"], p["rank"], p["delta_nll"], p["stderr"]] for p in found["points"]]
    caption = (
        f"Measured on {found['setting']}; dense {found['dense_nll']:.4f} nats per token; "
        f"{found['forwards']} passes, {found['tokens']:,} tokens, {found['seconds']:.1f} s now"
    )
    table(f"{found['model']} under {found['method']}", columns, rows, caption)
