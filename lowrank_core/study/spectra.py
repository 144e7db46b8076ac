"""A unit's Spectrum from its factorization, and what cutting costs by a backward pass over the factors."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..calibration.backward import go_backward
from ..calibration.fisher import Prices
from ..jobs import Job
from ..linalg import stable_rank
from ..methods import METHODS, Factorization
from ..settings import CANDIDATES
from ..types import Site, Spectrum, Unit, rank_at
from .factoring import error_at

if TYPE_CHECKING:
    from .build import Workbench


def spectrum_of(unit: Unit, made: Factorization, weight: Tensor, moment: Tensor, loss_scale: float) -> Spectrum:
    """The Spectrum of a unit: weight (m, n), the second moment of its inputs (n, n), nats per unit of output error."""
    if METHODS[unit.method].sliceable:
        ranks = np.arange(unit.max_rank + 1)
        errors = made.output_error.cpu().numpy()
        energy = float(made.output_error[0])  # all of it is lost at rank 0
    else:  # one more factorization per rank: only on the candidates' ranks, the same for every storage
        if made.mean is not None:
            moment = moment - torch.outer(made.mean, made.mean)
        plain = replace(unit, storage="factored", biased=False)
        ranks = np.array(sorted({0, unit.max_rank, *(rank_at(plain, k) for k in CANDIDATES)}))
        errors = np.array([error_at(made, int(rank), weight, moment) for rank in ranks])
        energy = float(((weight @ moment) * weight).sum())
    loss = None if made.loss is None else made.loss.cpu().numpy()
    sigma = made.sigma.cpu().numpy()
    return Spectrum(unit.path, unit.method, sigma, ranks, errors, energy, loss_scale, loss, stable_rank(weight))


def price(bench: "Workbench", units: list[Unit], found: dict[str, Spectrum]) -> Job[None]:
    """Put what cutting costs token by token into the spectra of methods that predict the loss, and store them.

    Two estimates are at hand: the method's own, in which inputs and gradients are independent, and a sample that
    knows how they go together. Their geometric mean chooses better ranks than either (assets/measurements.md).
    """
    by_path = {u.path: u for u in units}

    def start(site: Site) -> Prices:
        made = bench.factorization(by_path[site.path])
        return Prices(made.left, made.right)

    def keep(site: Site, prices: Prices) -> None:
        unit, spectrum, sample = by_path[site.path], found[site.path], prices.loss().cpu().numpy()
        found[site.path] = bench.keep_spectrum(unit, replace(spectrum, loss=np.sqrt(spectrum.loss * sample)))

    if units:
        sites = [bench.sites[path] for path in by_path]
        yield from go_backward(bench.loaded, bench.windows, sites, start, keep, bench.source.seed)
