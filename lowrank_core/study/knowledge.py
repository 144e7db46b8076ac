"""All that is known of what the units cost: spectra, measured points, and what follows from both (numpy only)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..allocation.beliefs import Beliefs, believe, law_of, noise_of
from ..settings import CANDIDATES
from ..types import Point, Spectrum, Unit, rank_at

Points = Mapping[str, Mapping[float, Point]]  # path → keep → Point
LEAST_FACTOR = 0.05  # of the prediction: however low points lie, a cut is never believed to be for nothing


@dataclass(frozen=True)
class Grid:
    """What spectra alone say of the units at the candidates, worked out once."""

    units: tuple[Unit, ...]
    spectra: Mapping[str, Spectrum]

    @cached_property
    def ranks(self) -> np.ndarray:
        """(S, K) the candidates' ranks."""
        return np.array([[rank_at(u, k) for k in CANDIDATES] for u in self.units])

    @cached_property
    def predicted(self) -> np.ndarray:
        """(S, K) predicted nats above dense, of both orders."""
        return self._at_candidates(lambda s, ranks: s.predicted(ranks))

    @cached_property
    def second(self) -> np.ndarray:
        """(S, K) those of the second order alone."""
        return self._at_candidates(lambda s, ranks: s.second(ranks))

    @cached_property
    def first(self) -> np.ndarray:
        """(S, K) and those of the first."""
        return self._at_candidates(lambda s, ranks: s.first(ranks))

    @cached_property
    def drifting(self) -> bool:
        """Whether the first order is known."""
        return all(self.spectra[u.path].drift is not None for u in self.units)

    @cached_property
    def curves(self) -> tuple[np.ndarray, ...]:
        """Per unit (max rank + 1,) predicted nats at every rank."""
        return tuple(np.asarray(self.spectra[u.path].predicted(np.arange(u.max_rank + 1))) for u in self.units)

    @cached_property
    def orders(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Per unit (max rank + 1,) nats of the first and of the second order at every rank."""
        spectra = ((self.spectra[u.path], np.arange(u.max_rank + 1)) for u in self.units)
        return tuple((s.first(ranks), s.second(ranks)) for s, ranks in spectra)

    def _at_candidates(self, value: Callable[[Spectrum, np.ndarray], np.ndarray]) -> np.ndarray:
        rows = zip(self.units, self.ranks, strict=True)
        return np.array([value(self.spectra[u.path], ranks) for u, ranks in rows])

    @cached_property
    def without_first(self) -> "Grid":
        """The same to second order alone."""
        return Grid(self.units, {path: replace(s, drift=None) for path, s in self.spectra.items()})

    @cached_property
    def row(self) -> dict[str, int]:
        """Path → row."""
        return {u.path: i for i, u in enumerate(self.units)}


@dataclass(frozen=True)
class Knowledge:
    """The grid, the points measured by now, and what is believed of every candidate."""

    grid: Grid
    points: Points
    pace: Mapping[str, int] = field(default_factory=dict)  # path → the largest rank that is as fast as dense
    latents: tuple[int, int] = (0, 0)  # parameters of the layers whose latents the cache holds: dense, and as they are

    @classmethod
    def of(cls, units: Iterable[Unit], spectra: Mapping[str, Spectrum], points: Points | None = None) -> "Knowledge":
        return cls(Grid(tuple(units), spectra), points or {})

    def knowing(self, point: Point) -> "Knowledge":
        """With one more point, or the same one on more windows."""
        row = {**self.points.get(point.path, {}), point.keep: point}
        return replace(self, points={**self.points, point.path: row})

    def unmeasured(self) -> "Knowledge":
        """The same without its points."""
        return replace(self, points={})

    @cached_property
    def windows(self) -> np.ndarray:
        """(S, K) windows that each candidate was measured on, 0 for none."""
        return self._table(lambda p: p.windows, 0).astype(int)

    @cached_property
    def measured(self) -> np.ndarray:
        """(S, K) measured nats above dense, NaN for none."""
        return self._table(lambda p: p.delta_nll, np.nan)

    @cached_property
    def beliefs(self) -> Beliefs:
        grid, law = self.grid, law_of(self.grid.second, self.grid.drifting)
        rest = {path: {k: self._second(p) for k, p in row.items()} for path, row in self.points.items()}
        spread = self._table(lambda p: p.stderr * p.windows**0.5, 0.0, rest)
        noise = noise_of(spread, np.maximum(self.windows, 1), law)
        roles, blocks = [u.role for u in grid.units], [u.block for u in grid.units]
        seen = self._table(lambda p: p.delta_nll, np.nan, rest)
        return believe(roles, blocks, np.array(CANDIDATES), grid.second, seen, noise, law, grid.first)

    def _second(self, point: Point) -> Point:
        """The point without what its windows' first order explains: the second order, and what is beyond."""
        spectrum = self.grid.spectra.get(point.path)
        if spectrum is None or spectrum.drift is None:
            return point
        first = spectrum.drift.windows(point.rank, point.windows)
        return replace(point, deltas=tuple((np.array(point.deltas) - first).tolist()))

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Path → (max rank + 1,) expected nats above dense at every rank, falling: of the second order times the factor
        believed at the candidates and between them, and of the first."""
        if not self.points:
            return dict(zip(self.grid.row, self.grid.curves, strict=True))
        made = {}
        rows = zip(self.grid.row, self.grid.orders, self.grid.ranks, self.beliefs.factor, strict=True)
        for path, (first, second), ranks, factor in rows:
            scale = np.interp(np.arange(len(second)), ranks, np.maximum(factor, LEAST_FACTOR))
            made[path] = np.maximum.accumulate((first + second * scale)[::-1])[::-1]
        return made

    def table(self, units: Iterable[Unit], bare: bool = True) -> dict[str, dict[float, float]]:
        """Path → keep → loss above dense, of these units: what is believed; `bare`: what was measured, as it is, where
        all of it was on equally many windows."""
        rows = [self.grid.row[u.path] for u in units]
        seen = self.windows[rows]
        whole = bare and seen.min() > 0 and seen.min() == seen.max()
        values = (self.measured if whole else self.beliefs.mean)[rows]
        paths = [self.grid.units[i].path for i in rows]
        return {p: dict(zip(CANDIDATES, row, strict=True)) for p, row in zip(paths, values.tolist(), strict=True)}

    def expected(self, ranks: Mapping[str, int | None]) -> float:
        """Summed expected nats above dense of a plan's ranks."""
        return float(sum(self.curves[p][r] for p, r in ranks.items() if r is not None))

    def _table(self, value: Callable[[Point], float], missing: float, points: Points | None = None) -> np.ndarray:
        """(S, K) a value of each of the points."""
        found = np.full(self.grid.ranks.shape, missing, float)
        place = {k: i for i, k in enumerate(CANDIDATES)}
        for path, row in (self.points if points is None else points).items():
            if (i := self.grid.row.get(path)) is None:
                continue
            for keep, point in row.items():
                if (j := place.get(keep)) is not None:  # other keeps may have been asked for by hand
                    found[i, j] = value(point)
        return found
