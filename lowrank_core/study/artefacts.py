"""Values of the study as artefacts and back (numpy only)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ..drift import Drift
from ..kv.plan import KVPlan, KVUnit, plan_latents
from ..store import Artefact
from ..types import ChannelSummary, Divergence, Measurement, Point, Setting, Site, Spectrum


@dataclass(frozen=True)
class Body:
    """The sites and sizes of a model, known without loading it."""

    family: str
    sites: tuple[Site, ...]
    parameters: int  # of the whole model
    element_size: int  # bytes per parameter in the dtype it is loaded, measured and saved in
    context: int
    chat: bool  # whether it has a chat template
    bos: bool = False  # whether its windows begin with a BOS token
    note: str = ""  # what is left out of it, where anything is

    @property
    def site_parameters(self) -> int:
        return sum(s.parameters for s in self.sites)

    def site(self, path: str) -> Site:
        """The site at a path."""
        return next(s for s in self.sites if s.path == path)

    @property
    def group_keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.group for s in self.sites))

    def to_artefact(self) -> Artefact:
        return Artefact(facts={**asdict(self), "sites": [asdict(s) for s in self.sites]})

    @classmethod
    def from_artefact(cls, artefact: Artefact) -> "Body":
        return cls(**{**artefact.facts, "sites": tuple(Site(**s) for s in artefact.facts["sites"])})


@dataclass(frozen=True)
class KVCurves:
    """What latents are predicted to cost, unit by unit, and which blocks cannot have any."""

    units: tuple[KVUnit, ...]
    losses: Mapping[str, np.ndarray]  # path → (max_rank + 1,) nats per token above dense at so many latents
    dense: Mapping[int, str]  # block → why its cache stays as it is

    def plan(self, ratio: float, allocator: str) -> KVPlan:
        """The KVPlan of a ratio."""
        return plan_latents(self.units, self.losses, ratio, allocator)

    def predicted(self, plan: KVPlan) -> float:
        """Summed predicted loss above dense, nats per token."""
        return float(sum(self.losses[p][r] for p, r in plan.ranks.items() if r is not None))


def pack_kv_curves(curves: KVCurves) -> Artefact:
    facts = {"units": [asdict(u) for u in curves.units], "dense": {str(b): why for b, why in curves.dense.items()}}
    return Artefact(dict(curves.losses), facts)


def unpack_kv_curves(artefact: Artefact) -> KVCurves:
    units = tuple(KVUnit(**{**u, "rows": tuple(u["rows"])}) for u in artefact.facts["units"])
    return KVCurves(units, artefact.arrays, {int(b): why for b, why in artefact.facts["dense"].items()})


def pack_summary(summary: ChannelSummary) -> Artefact:
    arrays = {n: getattr(summary, n) for n in ("rms", "abs_mean", "abs_max", "kurtosis", "map_channels")}
    arrays["map_values"] = summary.map_values.astype(np.float16)
    return Artefact(arrays, {"group": summary.group, "tokens": summary.tokens, "map_tokens": list(summary.map_tokens)})


def unpack_summary(artefact: Artefact) -> ChannelSummary:
    facts = artefact.facts
    arrays = {**artefact.arrays, "map_values": artefact.arrays["map_values"].astype(np.float32)}
    return ChannelSummary(group=facts["group"], tokens=facts["tokens"], map_tokens=tuple(facts["map_tokens"]), **arrays)


def pack_spectrum(spectrum: Spectrum) -> Artefact:
    arrays = {
        "sigma": spectrum.sigma.astype(np.float32),
        "ranks": spectrum.ranks.astype(np.int32),
        "output_error": spectrum.output_error.astype(np.float32),
        "loss": spectrum.loss.astype(np.float32),
    }
    facts = {
        "path": spectrum.path,
        "method": spectrum.method,
        "energy": spectrum.energy,
        "stable_rank": spectrum.stable_rank,
    }
    if (drift := spectrum.drift) is not None:
        facts["drift_tokens"] = drift.tokens
        arrays["drift_ranks"], arrays["drift"] = drift.ranks.astype(np.int32), drift.mean.astype(np.float32)
        arrays["drift_by_window"] = drift.by_window.astype(np.float16)
    return Artefact(arrays, facts)


def unpack_spectrum(artefact: Artefact) -> Spectrum:
    facts, arrays, drift = dict(artefact.facts), dict(artefact.arrays), None
    if (tokens := facts.pop("drift_tokens", None)) is not None:
        names = ("drift_ranks", "drift", "drift_by_window")
        ranks, mean, windows = (arrays.pop(n) for n in names)
        drift = Drift(ranks, mean, windows.astype(np.float32), tokens)
    return Spectrum(**facts, **arrays, drift=drift)


def pack_points(points: dict[float, Point]) -> Artefact:
    kept = [points[k] for k in sorted(points)]
    deltas = np.full((len(kept), max(p.windows for p in kept)), np.nan, np.float32)
    for row, p in zip(deltas, kept, strict=True):
        row[: p.windows] = p.deltas
    facts = {"path": kept[0].path, "keeps": [p.keep for p in kept], "ranks": [p.rank for p in kept]}
    return Artefact({"deltas": deltas}, facts)


def unpack_points(artefact: Artefact | None) -> dict[float, Point]:
    if artefact is None:
        return {}
    facts = artefact.facts
    rows = (tuple(row[~np.isnan(row)].tolist()) for row in artefact.arrays["deltas"])
    made = zip(facts["keeps"], facts["ranks"], rows, strict=True)
    return {keep: Point(facts["path"], keep, rank, row) for keep, rank, row in made}


def pack_measurement(measurement: Measurement) -> Artefact:
    return Artefact(facts={**asdict(measurement), "window_nll": list(measurement.window_nll)})


def unpack_measurement(artefact: Artefact) -> Measurement:
    facts = artefact.facts
    divergence = facts.get("divergence")
    return Measurement(
        facts["nll"],
        facts["tokens"],
        Setting(**facts["setting"]),
        tuple(facts["window_nll"]),
        divergence and Divergence(**divergence),
    )
