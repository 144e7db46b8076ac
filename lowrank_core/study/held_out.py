"""What a cut does to a layer's outputs on text it was not made with."""

from collections.abc import Iterable

import numpy as np
import torch

from ..jobs import Job, Progress, job
from ..methods import METHODS
from ..types import Unit
from .build import Workbench

FEW, NEAR = 11, 6  # ranks of each curve: evenly spaced on a log axis, and towards the full rank


@job
def held_out_error(bench: Workbench, other: Workbench, units: Iterable[Unit]) -> Job[dict[str, tuple]]:
    """Method → (ranks (K,), errors (K,)): tr(Δ C Δᵀ) / tr(W C Wᵀ) of one site, C the gram of the other's text.

    `units`: the site under several methods. `bench` gives the factors, made with its own text; both share the model.
    The statistics of both are collected where they are not stored.
    """
    units, found = tuple(units), {}
    for of in (bench, other):
        yield from of.calibrate({units[0].group})
    if any(METHODS[u.method].gradients(u.settings) for u in units):
        yield from bench.collect_fisher({s.path for s in units[0].sites})
    weight = bench.unit_weight(units[0])
    gram = other.statistics(Unit(units[0].sites, "svd")).gram
    seen = weight @ gram  # (m, n)
    energy = float((seen * weight).sum().clamp_min(torch.finfo(torch.float64).tiny))
    full = units[0].max_rank
    ranks = np.unique(np.r_[np.geomspace(1, full, FEW), full - np.geomspace(1, full / 2, NEAR)].round().astype(int))
    for i, unit in enumerate(units):
        errors = []
        for rank in ranks:
            cut = bench.factors(unit, int(rank))
            left, right = cut.left.double(), cut.right.double()
            rest = (seen - left @ (right @ gram)) * (weight - left @ right)
            errors.append(max(0.0, float(rest.sum())) / energy)
            yield Progress("held-out error", i, len(units), f"{unit.label}, {unit.method}, rank {rank}")
        found[unit.method] = (ranks, np.array(errors))
    return found
