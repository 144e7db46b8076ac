"""Measured points: what is stored is read, what is missing is measured and stored at once."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from ..errors import NonFinite
from ..jobs import Job, Progress
from ..methods import METHODS
from ..types import Point, Unit, rank_at
from . import artefacts
from .factoring import unit_modules

if TYPE_CHECKING:
    from .build import Workbench


def measured(bench: "Workbench", wanted: Iterable[tuple[Unit, float]], windows: int | None = None) -> Job[list[Point]]:
    """The points asked for as (unit, keep), in that order, each on the first `windows` probe windows, or on all.

    A point that is stored on fewer is measured on the others only. Neighbours of one unit run side by side. Yields one
    Progress per point, with the Point as its value. NonFinite, naming the unit, where a loss is no number.
    """
    wanted, found = list(wanted), []
    stored = {u.path: bench.study.points(u) for u in {u.path: u for u, _ in wanted}.values()}
    most = windows or bench.study.probe_windows
    short = [(u, k) for u, k in wanted if k not in stored[u.path] or stored[u.path][k].windows < most]
    if any(METHODS[u.method].gradients(u.settings) for u, _ in short):
        yield from bench.collect_fisher()
    if short:
        most = min(most, len((yield from bench.probe()).windows))
    for _, run in groupby(wanted, lambda pair: pair[0].path):
        run = list(run)
        unit, known = run[0][0], stored[run[0][0].path]
        missing: dict[int, list[float]] = {}  # windows measured already → keeps
        for _, keep in run:
            have = known[keep].windows if keep in known else 0
            if have < most and keep not in missing.setdefault(have, []):
                missing[have].append(keep)
        for have, keeps in missing.items():
            if keeps:
                probe = yield from bench.probe()
                made = [unit_modules(bench, unit, rank_at(unit, k)) for k in keeps]
                for keep, deltas in zip(keeps, probe.measure(unit, made, have, most), strict=True):
                    known[keep] = _longer(unit, keep, known.get(keep), deltas)
                new = {k: known[k] for k in keeps}
                bench.store.update(
                    bench.study.points_key(unit), lambda old, new=new: artefacts.pack_points(_merged(old, new))
                )
        for _, keep in run:
            found.append(known[keep])
            yield Progress("sensitivity", len(found), len(wanted), unit.label, known[keep])
    return found


def _longer(unit: Unit, keep: float, before: Point | None, deltas: torch.Tensor) -> Point:
    """The point with these further windows, in the precision it is stored in."""
    if not deltas.isfinite().all():
        raise NonFinite(f"The loss with {unit.path} at keep {keep:g} is no number.", "Load the model in float32.")
    return Point(unit.path, keep, rank_at(unit, keep), (*(before.deltas if before else ()), *deltas.float().tolist()))


def _merged(old: artefacts.Artefact | None, new: dict[float, Point]) -> dict[float, Point]:
    """Of two measurements of one point the one on more windows."""
    merged = artefacts.unpack_points(old)
    for keep, point in new.items():
        if keep not in merged or merged[keep].windows < point.windows:
            merged[keep] = point
    return merged
