"""What cutting a unit costs in nats: the predicted curves, from one backward pass over its factors."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..calibration.backward import go_backward
from ..calibration.prices import CutPrices, Prices
from ..jobs import Job
from ..methods import METHODS
from ..settings import CANDIDATES, PRICED_WINDOWS
from ..types import Site, Spectrum, Unit

if TYPE_CHECKING:
    from .build import Workbench


HELD = 2**30  # bytes of factors that go backward together; more units take more passes


def runs(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """The units in runs whose factors fit into HELD bytes: each is priced in a pass of its own, and then stored."""
    run: list[Unit] = []
    held = 0
    for unit in units:
        cuts = 1 if METHODS[unit.method].sliceable else len(CANDIDATES) + 2
        size = 4 * cuts * unit.parameters
        if run and held + size > HELD:
            yield run
            run, held = [], 0
        run.append(unit)
        held += size
    if run:
        yield run


def priced(bench: "Workbench", units: Iterable[Unit], spectra: dict[str, Spectrum]) -> Job[dict[str, np.ndarray]]:
    """Unit path → (K,) predicted nats above dense at the ranks of its spectrum: ½ E[(gᵀ Δ x)²], the loss to second
    order with each token's own gradient, over the first calibration windows.

    *Limits*: sites that share a right factor are priced one by one and added up.
    """
    owners = {s.path: (u, i) for u in units for i, s in enumerate(u.sites)}
    nats: dict[str, Tensor] = {}

    def start(site: Site) -> Prices | CutPrices:
        unit, place = owners[site.path]
        first = sum(s.d_out for s in unit.sites[:place])
        rows = slice(first, first + site.d_out)
        made = bench.factorization(unit)
        if METHODS[unit.method].sliceable:
            return Prices(made.left[rows], made.right, made.mean)
        weight = bench.unit_weight(unit)[rows]
        cuts = (made.cut(int(rank)) for rank in spectra[unit.path].ranks)
        return CutPrices([weight - c.left[rows] @ c.right for c in cuts], made.mean)

    def keep(site: Site, prices: Prices | CutPrices) -> None:
        path = owners[site.path][0].path
        nats[path] = nats.get(path, 0) + prices.loss()

    if owners:
        windows = (yield from bench.read_windows())[:PRICED_WINDOWS]
        sites = [bench.sites[path] for path in owners]
        yield from go_backward(bench.loaded, windows, sites, start, keep, bench.source.seed)
    return {path: loss.cpu().numpy() for path, loss in nats.items()}
