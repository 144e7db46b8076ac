"""`inspect`: the sites of a model, the outliers in what they read, and how fast their spectra fall."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ..jobs import Job, Progress
from ..settings import CALIBRATION_WINDOWS, SEED
from ..types import Site
from .opening import open_bench, recipe_from
from .options import Calibrate, Device, Dtype, Json, ModelOrDir, Seed, Window, Windows
from .output import emit, table
from .relay import relay

if TYPE_CHECKING:
    from ..study.build import Workbench

Spectra = Annotated[bool, typer.Option("--spectra", help="Add the singular values of every weight.")]


def inspect(
    model: ModelOrDir,
    calibrate: Calibrate = None,
    spectra: Spectra = False,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = SEED,
    windows: Windows = CALIBRATION_WINDOWS,
    window: Window = None,
) -> None:
    """The sites of a model: sizes, activation outliers, stable and effective rank."""
    values = {"model": model, "text": calibrate, "windows": windows, "window": window, "seed": seed}
    bench = open_bench(recipe_from(values), device, dtype)
    sites = relay(_look(bench, spectra))
    found = {
        "model": bench.loaded.name,
        "family": bench.loaded.anatomy.family,
        "parameters": bench.loaded.parameters,
        "skipped": list(bench.loaded.anatomy.skipped),
        "note": bench.loaded.anatomy.note,
        "setting": str(bench.study.setting(len(bench.windows))),
        "sites": sites,
    }
    emit(found, json, _show)


def _look(bench: "Workbench", spectra: bool) -> Job[list[dict[str, Any]]]:
    """One record per site, in the order of the data flow."""
    yield from bench.calibrate()
    found = []
    for i, site in enumerate(bench.sites.values()):
        found.append(_record(bench, site, spectra))
        yield Progress("singular values", i + 1, len(bench.sites), site.label)
    return found


def _record(bench: "Workbench", site: Site, spectra: bool) -> dict[str, Any]:
    from ..linalg import singular_values

    summary = bench.study.summary(site.group)
    sigma = singular_values(bench.weight(site.path)).cpu().numpy()
    stable, effective = ranks_of(sigma)
    record = {
        "path": site.path,
        "role": site.role,
        "block": site.block,
        "d_out": site.d_out,
        "d_in": site.d_in,
        "outlier_ratio": summary.outlier_ratio,
        "top_channel": summary.top_channel,
        "stable_rank": stable,
        "effective_rank": effective,
    }
    return {**record, "singular_values": sigma.tolist()} if spectra else record


def ranks_of(sigma: np.ndarray) -> tuple[float, float]:
    """Stable rank ‖W‖²_F / σ₁² and effective rank exp(entropy of σ² normalised); both 0 for a zero matrix."""
    square = np.asarray(sigma, np.float64) ** 2
    if not square.sum() > 0:
        return 0.0, 0.0
    share = square[square > 0] / square.sum()
    return float(square.sum() / square.max()), float(np.exp(-(share * np.log(share)).sum()))


def _show(found: dict) -> None:
    columns = ("block", "role", "out", "in", "outlier ratio", "top channel", "stable rank", "effective rank")
    keys = ("block", "role", "d_out", "d_in", "outlier_ratio", "top_channel", "stable_rank", "effective_rank")
    title = f"{found['model']} ({found['family']}): {found['parameters']:,} parameters, {len(found['sites'])} sites"
    table(title, columns, [[s[k] for k in keys] for s in found["sites"]], f"Calibrated on {found['setting']}")
