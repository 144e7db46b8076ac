"""What a study lacks, computed and stored piece by piece: statistics, spectra, measured points.

Every function is a job; stopped at any yield it keeps what it stored, and the next run goes on from there.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..calibration.accumulate import Moments, TokenMap, summary
from ..calibration.collect import collect
from ..calibration.gradients import collect_gradients
from ..calibration.windows import cut_windows
from ..errors import ModelUnsupported
from ..evaluation.sensitivity import Probe
from ..jobs import Job, Progress
from ..methods import METHODS, Factorization, Factors, Statistics
from ..models.loading import LoadedModel
from ..models.sites import weight_of
from ..settings import CANDIDATES, GRADIENT_WINDOWS
from ..store import Artefact
from ..types import Point, Site, Spectrum, rank_at
from . import artefacts
from .artefacts import Body
from .read import Study


class Workbench:
    """A study with its model loaded: what is missing is computed here, and factors are kept for slicing."""

    def __init__(self, study: Study, loaded: LoadedModel):
        self.study, self.loaded, self.store = study, loaded, study.store
        self.source = study.source
        self.sites = {s.path: s for s in loaded.anatomy.sites}
        self._windows: Tensor | None = None
        self._factorizations: dict[tuple, Factorization] = {}
        self._probe: Probe | None = None
        self.body = self._remember_body()

    @property
    def windows(self) -> Tensor:
        """(N, T) the calibration windows."""
        if self._windows is None:
            self._windows = cut_windows(
                self.loaded.tokenizer, self.study.text, self.source.windows, self.source.window, self.source.seed
            )
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
        )
        key = self.source.anatomy()
        if self.store.read(key) is None:
            self.store.write(key, body.to_artefact())
        return body

    # --- statistics -------------------------------------------------------------------------------------------

    def calibrate(self) -> Job[None]:
        """Statistics of every input group and gradients of every site, as far as they are not stored."""
        groups = self.loaded.anatomy.groups
        done = frozenset(
            k for k in groups if self.store.read(self.source.channels(k)) and self.store.read(self.source.gram(k))
        )

        def keep(group: str, moments: Moments, shown: TokenMap) -> None:
            stats = moments.statistics()
            self.store.write(self.source.channels(group), artefacts.pack_summary(summary(group, moments, shown)))
            arrays = {"gram": stats.gram, "abs_mean": stats.abs_mean, "abs_max": stats.abs_max}
            self.store.write(
                self.source.gram(group),
                Artefact({k: v.cpu().numpy() for k, v in arrays.items()}, {"tokens": stats.tokens}),
            )

        if len(done) < len(groups):
            yield from collect(self.loaded, self.windows, keep, done)
        if self.store.read(self.source.gradient()) is None:
            squares = yield from collect_gradients(self.loaded, self.windows[:GRADIENT_WINDOWS], self.source.seed)
            self.store.write(self.source.gradient(), Artefact({p: g.cpu().numpy() for p, g in squares.items()}))

    def statistics(self, group: str) -> Statistics:
        """The stored statistics of an input group, on the model's device; `calibrate` made them."""
        found = self.store.read(self.source.gram(group))
        tensors = {k: torch.from_numpy(v).to(self.loaded.device) for k, v in found.arrays.items()}
        return Statistics(**tensors, tokens=found.facts["tokens"])

    # --- spectra and factors ----------------------------------------------------------------------------------

    def weight(self, path: str) -> Tensor:
        """(m, n) float64 weight of a site; of factors, their product."""
        return weight_of(self.loaded.model.get_submodule(path))

    def factorization(self, path: str, method: str, parameters: dict) -> Factorization:
        """A site's factorization, made once per method and kept in the model's dtype where it is sliceable.

        ModelUnsupported where the model is already compressed.
        """
        if self.study.folder.compressed is not None:
            raise ModelUnsupported(
                f"{self.loaded.name!r} is already compressed.", "Take the dense model it was made from."
            )
        key = (path, method, tuple(sorted(parameters.items())))
        if key not in self._factorizations:
            entry = METHODS[method]
            made = entry.factorize(self.weight(path), self.statistics(self.sites[path].group), parameters)
            if entry.sliceable:
                dtype = self.loaded.model.get_submodule(path).weight.dtype
                made = Factorization(made.left.to(dtype), made.right.to(dtype), made.sigma, made.output_error)
            self._factorizations[key] = made
        return self._factorizations[key]

    def factors(self, path: str, method: str, parameters: dict, rank: int) -> Factors:
        """A site's factors at a rank, in the model's dtype."""
        dtype = self.loaded.model.get_submodule(path).weight.dtype
        made = self.factorization(path, method, parameters).cut(rank)
        return Factors(made.left.to(dtype), made.right.to(dtype))

    def spectra(self, method: str, parameters: dict) -> Job[dict[str, Spectrum]]:
        """path → Spectrum under a method, each stored when it is made; needs `calibrate`."""
        gradient = self.store.read(self.source.gradient()).arrays
        found = {}
        for i, site in enumerate(self.sites.values()):
            spectrum = self.study.spectrum(site.path, method, parameters)
            if spectrum is None:
                made = artefacts.pack_spectrum(
                    self._spectrum(site, method, parameters, 0.5 * float(gradient[site.path].mean()))
                )
                self.store.write(self.source.spectrum(site.path, method, parameters), made)
                spectrum = artefacts.unpack_spectrum(made)  # as it will be read: the next run decides alike
            found[site.path] = spectrum
            yield Progress("spectra", i + 1, len(self.sites), site.label)
        return found

    def _spectrum(self, site: Site, method: str, parameters: dict, scale: float) -> Spectrum:
        made = self.factorization(site.path, method, parameters)
        weight, gram = self.weight(site.path), self.statistics(site.group).gram
        energy = float(((weight @ gram) * weight).sum())
        if METHODS[method].sliceable:
            ranks = np.arange(site.max_rank + 1)
            errors = made.output_error.cpu().numpy()
        else:  # one more factorization per rank: only on the candidates' ranks
            ranks = np.array(sorted({0, site.max_rank, *(rank_at(site, k) for k in CANDIDATES)}))
            errors = []
            for rank in ranks:
                cut = made.cut(int(rank))
                rest = weight - cut.left.double() @ cut.right.double()
                errors.append(float(((rest @ gram) * rest).sum().clamp_min(0)))
            errors = np.array(errors)
        return Spectrum(site.path, method, made.sigma.cpu().numpy(), ranks, errors, energy, scale)

    # --- measured points --------------------------------------------------------------------------------------

    def probe(self) -> Job[Probe]:
        """The dense model on the probe windows, run once."""
        if self._probe is None:
            probe = Probe(self.loaded, self.windows[: self.study.probe_windows])
            yield from probe.prepare()
            self._probe = probe
        return self._probe

    def measure(self, method: str, parameters: dict, wanted: Iterable[tuple[str, float]]) -> Job[list[Point]]:
        """The points asked for as (path, keep), in that order; stored ones cost nothing, new ones are stored at once.

        Yields one Progress per point, with the Point as its value.
        """
        wanted, found = list(wanted), []
        known = {path: self.study.points(path, method, parameters) for path in dict.fromkeys(p for p, _ in wanted)}
        for i, (path, keep) in enumerate(wanted):
            point = known[path].get(keep)
            if point is None:
                probe = yield from self.probe()
                site = self.sites[path]
                cut = self.factors(path, method, parameters, rank_at(site, keep))
                point = probe.measure(site, keep, cut.left, cut.right)
                key = self.source.points(path, method, parameters, self.study.probe_windows)
                self.store.update(
                    key, lambda old, p=point: artefacts.pack_points({**artefacts.unpack_points(old), p.keep: p})
                )
            found.append(point)
            yield Progress("sensitivity", i + 1, len(wanted), self.sites[path].label, point)
        return found
