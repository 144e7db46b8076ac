"""What a study lacks, computed and stored piece by piece: statistics, spectra, measured points.

Every function is a job; stopped at any yield it keeps what it stored, and the next run goes on from there.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..calibration.accumulate import Moments, TokenMap, summary
from ..calibration.collect import collect
from ..calibration.fisher import OutputMoments, collect_fisher
from ..calibration.windows import cut_windows
from ..drift import Drift
from ..errors import ModelUnsupported
from ..evaluation.sensitivity import Probe
from ..jobs import Job, finish
from ..linalg import check_finite, root_of, stable_rank
from ..methods import METHODS, Factorization, Factors, Statistics
from ..models.loading import LoadedModel
from ..models.sites import weight_of
from ..settings import FACTORS_HELD
from ..store import Artefact, Key
from ..types import Point, Site, Spectrum, Unit
from . import artefacts, spill
from .artefacts import Body
from .factoring import factorize_unit
from .measuring import measured
from .own_text import written
from .pricing import candidate_ranks, candidate_rests, error_of, priced_spectra
from .read import Study
from .shelf import Shelf


class Workbench:
    """A study with its model loaded: what is missing is computed here, and factors are kept for slicing.

    *Memory*: while spectra are made, one input group's gram and one unit's float64 factorization are alive, beside the
    model and at most `settings.FACTORS_HELD` bytes of finished factors in the model's dtype, or `held` where that is
    more. Of a model with more of them they go to disk, and where `held` has room for all they stay in memory, too.
    """

    def __init__(self, study: Study, loaded: LoadedModel, held: int = 0):
        self.study, self.loaded, self.store = study, loaded, study.store
        self.source = study.source
        self.sites = {s.path: s for s in loaded.anatomy.sites}
        self._windows: Tensor | None = None
        units = tuple(Unit((s,)) for s in loaded.anatomy.sites)
        size, most = spill.full_size(units, loaded.model.dtype.itemsize), max(held, FACTORS_HELD)
        self.large = size > FACTORS_HELD  # then factors go to disk
        self._shelved = size <= most  # whether memory keeps them all
        self._factorizations = Shelf(most if self._shelved else 0)
        self._probe: Probe | None = None
        self.walked: tuple[str, dict[str, nn.Module]] | None = None  # the last walk's name, and path → module of it
        self.latents: tuple[tuple, dict[str, nn.Module]] | None = None  # the last plan's name, and its modules
        self.body = self._remember_body()

    @property
    def windows(self) -> Tensor:
        """(N, T) the calibration windows."""
        return finish(self.read_windows())

    def read_windows(self) -> Job[Tensor]:
        """(N, T) the calibration windows; what the model is to write of them is written first."""
        if self._windows is None:
            s = self.source
            text = yield from written(self.loaded, self.store, self.study.text, s.own_text(s.windows, s.window))
            self._windows = cut_windows(self.loaded.tokenizer, text, s.windows, s.window, s.seed, self.loaded.bos)
        return self._windows

    def _remember_body(self) -> Body:
        model = self.loaded.model
        body = Body(
            self.loaded.anatomy.family,
            self.loaded.anatomy.sites,
            self.loaded.parameters,
            model.dtype.itemsize,
            self.study.folder.context,
            bool(self.loaded.tokenizer.chat_template),
            self.loaded.bos is not None,
            self.loaded.anatomy.note,
        )
        key = self.source.anatomy()
        if self.store.read(key) is None:
            self.store.write(key, body.to_artefact())
        return body

    # --- statistics -------------------------------------------------------------------------------------------

    def calibrate(self, only: Collection[str] | None = None) -> Job[None]:
        """Statistics of every input group, or of these ones only, as far as they are not stored."""
        groups = self.loaded.anatomy.groups

        def needless(key: str) -> bool:
            known = self.store.read(self.source.channels(key)) and self.store.read(self.source.gram(key))
            return bool(known) or (only is not None and key not in only)

        done = frozenset(k for k in groups if needless(k))

        def keep(group: str, moments: Moments, shown: TokenMap) -> None:
            self.store.write(self.source.channels(group), artefacts.pack_summary(summary(group, moments, shown)))
            stats = moments.statistics()
            del moments
            arrays = {"gram": stats.gram, "abs_mean": stats.abs_mean, "abs_max": stats.abs_max, "mean": stats.mean}
            self.store.write(
                self.source.gram(group),
                Artefact({k: v.cpu().numpy() for k, v in arrays.items()}, {"tokens": stats.tokens}),
            )

        if len(done) < len(groups):
            windows = yield from self.read_windows()
            yield from collect(self.loaded, windows, keep, done)

    def collect_fisher(self, only: Collection[str] | None = None) -> Job[None]:
        """The output-gradient moments of every site, or of these ones only, as far as they are not stored; over all
        calibration windows."""
        wanted = self.sites if only is None else only
        done = frozenset(p for p in self.sites if p not in wanted or self.store.read(self.source.fisher(p)))
        if len(done) == len(self.sites):
            return

        def keep(site: Site, moments: OutputMoments) -> None:
            arrays = {k: v.cpu().numpy() for k, v in moments.means().items()}
            self.store.write(self.source.fisher(site.path), Artefact(arrays, {"tokens": moments.tokens}))

        yield from collect_fisher(self.loaded, self.windows, keep, self.source.seed, done)

    def statistics(self, unit: Unit) -> Statistics:
        """The stored statistics of a unit, on the model's device; `calibrate` made them, and `collect_fisher`."""
        found = self.store.read(self.source.gram(unit.group))
        arrays = dict(found.arrays)
        if METHODS[unit.method].gradients(unit.settings):
            arrays |= self.store.read(self.source.fisher(unit.path)).arrays
        tensors = {k: torch.from_numpy(v).to(self.loaded.device) for k, v in arrays.items()}
        return Statistics(**tensors, tokens=found.facts["tokens"])

    # --- spectra and factors ----------------------------------------------------------------------------------

    def weight(self, path: str) -> Tensor:
        """(m, n) float64 weight of a site; of factors, their product."""
        return weight_of(self.loaded.model.get_submodule(path))

    def unit_weight(self, unit: Unit) -> Tensor:
        """(Σ m, n) float64: the weights of a unit's sites, one above the other."""
        return torch.cat([self.weight(s.path) for s in unit.sites])

    def factorization(self, unit: Unit) -> Factorization:
        """A unit's factorization, made again only where it was given up for others (the ones used last are kept).

        In the model's dtype where the method is sliceable. ModelUnsupported where the model is already compressed,
        NonFinite naming the site where the numbers are none.
        """
        made = self._factorizations.get(_name(unit))
        if made is None and self._spilled(unit):
            made = spill.read(self.store, self._factors_key(unit), self.loaded.device)
            if made is not None:
                self._factorizations.put(_name(unit), made)
        if made is None:
            made = self._factorize(unit, self.unit_weight(unit), self.statistics(unit))
            made = self._put_away(unit, made)
        return made

    def _put_away(self, unit: Unit, made: Factorization) -> Factorization:
        """Keep what was made, sliceable factors in the model's dtype, and on disk where the model is large."""
        kept = self._in_dtype(unit, made) if METHODS[unit.method].sliceable else made
        self._factorizations.put(_name(unit), kept)
        if self._spilled(unit):
            spill.keep(self.store, self._factors_key(unit), kept)
        return kept

    def _spilled(self, unit: Unit) -> bool:
        return self.large and METHODS[unit.method].sliceable

    def _factors_key(self, unit: Unit) -> Key:
        method = METHODS[unit.method]
        return self.source.factors(unit.path, unit.method, method.decisive(unit.settings), unit.storage)

    def _factorize(self, unit: Unit, weight: Tensor, statistics: Statistics) -> Factorization:
        if self.study.folder.compressed is not None:
            raise ModelUnsupported(
                f"{self.loaded.name!r} is already compressed.", "Take the dense model it was made from."
            )
        return factorize_unit(unit, weight, statistics)

    def _in_dtype(self, unit: Unit, made: Factorization) -> Factorization:
        """Sliceable factors as they will be saved: memory and disk agree."""
        dtype = self.loaded.model.get_submodule(unit.sites[0].path).weight.dtype
        if unit.storage == "pivoted":  # pivots are chosen from these: rounding them first would round twice
            dtype = torch.promote_types(dtype, torch.float32)
        left, right = made.left.to(dtype), made.right.to(dtype)
        for part in (left, right):
            check_finite(part, f"The factorization of {unit.path}, in {str(dtype).removeprefix('torch.')},")
        return replace(made, left=left, right=right)

    def factors(self, unit: Unit, rank: int) -> Factors:
        """A unit's factors at a rank, in the model's dtype where the method is sliceable, else in float64."""
        cut = self.factorization(unit).cut(rank)
        return spill.alone(cut) if self._spilled(unit) and not self._shelved else cut

    def bias_shift(self, unit: Unit, cut: Factors) -> Tensor | None:
        """(Σ m,) float64 (W − Ŵ) μ, what centring adds to the bias; None where nothing is centred."""
        mean = self.factorization(unit).mean
        if mean is None:
            return None
        return self.unit_weight(unit) @ mean - cut.left.double() @ (cut.right.double() @ mean)

    def output_root(self, unit: Unit, ridge: float) -> tuple[Tensor, Tensor]:
        """(m, m) a root L of a unit's output-gradient moment Lᵀ L, and its inverse; I where no gradients are read."""
        weight = self.unit_weight(unit)
        identity = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        if not METHODS[unit.method].gradients(unit.settings):
            return identity, identity
        root, inverse = root_of(self.statistics(unit).output_gram, ridge)
        return root.T, inverse.T

    def spectra(self, units: Iterable[Unit]) -> Job[dict[str, Spectrum]]:
        """Unit path → Spectrum, stored as they are made; needs `calibrate`."""
        units = tuple(units)
        found = {u.path: self._spectrum_of(u) for u in units}
        missing = [u for u in units if found[u.path] is None]
        if any(METHODS[u.method].gradients(u.settings) for u in missing):
            yield from self.collect_fisher()
        return {**found, **(yield from priced_spectra(self, missing))}

    def keep_spectrum(self, unit: Unit, spectrum: Spectrum) -> Spectrum:
        """The spectrum as it is stored and will be read, so that the next run decides alike."""
        key = self.source.spectrum(unit.path, unit.method, METHODS[unit.method].decisive(unit.settings))
        return artefacts.unpack_spectrum(self.store.write(key, artefacts.pack_spectrum(spectrum)))

    def _spectrum_of(self, unit: Unit) -> Spectrum | None:
        return self.study.spectrum(unit.path, unit.method, unit.settings)

    def bare_spectrum(
        self, unit: Unit
    ) -> tuple[Callable[[np.ndarray, Drift], Spectrum], Factorization, list[Tensor] | None]:
        """What makes a Spectrum of a unit's price and drift, its Factorization, and of methods with a second stage
        W − Ŵ at the ranks of the spectrum (float32).

        Made on its own statistics; of the float64 factors nothing outlives it, the cut ones are kept for slicing.
        """
        weight, statistics = self.unit_weight(unit), self.statistics(unit)
        made = spill.read(self.store, self._factors_key(unit), self.loaded.device) if self._spilled(unit) else None
        if made is None:  # else a run that was stopped before its price was known had made it
            made = self._factorize(unit, weight, statistics)
        sigma, rests = made.sigma.cpu().numpy(), None
        if METHODS[unit.method].sliceable:
            ranks, errors = np.arange(unit.max_rank + 1), made.output_error.cpu().numpy()
            energy = float(errors[0])  # all of it is lost at rank 0
            made = self._put_away(unit, made)
        else:  # one more factorization per rank: only on the candidates'
            moment = statistics.gram
            if made.mean is not None:
                moment = moment - torch.outer(made.mean, made.mean)
            energy = float(((weight @ moment) * weight).sum())
            ranks = candidate_ranks(unit)
            rests = candidate_rests(ranks, weight, made)
            errors = np.array([error_of(rest, moment) for rest in rests])
            rests = [rest.float() for rest in rests]
            made = replace(made, left=made.left[:, :0], right=made.right[:0], second=None)  # no longer needed
        bare = partial(Spectrum, unit.path, unit.method, sigma, ranks, errors, energy, stable_rank=stable_rank(weight))
        return (lambda loss, drift: bare(loss=loss, drift=drift)), made, rests

    def forget_dense(self) -> None:
        """Let go of all that holds the dense model's weights beside the model itself."""
        self._probe = self.walked = None

    # --- measured points --------------------------------------------------------------------------------------

    def probe(self) -> Job[Probe]:
        """The dense model on the probe windows, run once."""
        if self._probe is None:
            probe = Probe(self.loaded, (yield from self.read_windows())[: self.study.probe_windows])
            yield from probe.prepare()
            self._probe = probe
        return self._probe

    def measure(self, wanted: Iterable[tuple[Unit, float]], windows: int | None = None) -> Job[list[Point]]:
        """The points asked for as (unit, keep), on the first `windows` probe windows or on all; see `measured`."""
        return (yield from measured(self, wanted, windows))


def _name(unit: Unit) -> tuple:
    return unit.path, unit.method, unit.storage, tuple(sorted(unit.settings.items()))
