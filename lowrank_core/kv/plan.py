"""From predicted losses to a number of latents per block, under one byte budget (numpy only)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..allocation import ALLOCATORS, Problem
from ..errors import BadValue
from .methods import KVMethod, runs

KV_ALLOCATORS = ("waterfill", "uniform")


@dataclass(frozen=True)
class KVUnit:
    """What gets a number of latents: a block's keys and values together, or its keys or its values; of all heads, or of
    a group of them."""

    path: str  # "3.kv", "3.k" or "3.v"; of a group "3.kv.0"
    block: int
    rows: tuple[int, ...]  # first and last + 1 of each run of the block's outputs
    d_in: int
    context: int  # tokens the model reads: what is saved of a full cache must be more than the layer's weights gain
    biased: bool = False  # whether latents add a bias that the dense layer does not have
    lead: int = 0  # other outputs of the same layer: queries of a fused one

    @property
    def d_out(self) -> int:
        return sum(self.rows[1::2]) - sum(self.rows[::2])

    @property
    def layer(self) -> tuple:
        """What units in one layer have in common."""
        return (self.block,) if self.lead else tuple(self.path.split(".")[:2])

    @property
    def parameters(self) -> int:
        """What a token's keys and values count: numbers in the cache."""
        return self.d_out

    @property
    def max_rank(self) -> int:
        return min(self.d_out, self.d_in)

    @property
    def form(self) -> tuple:
        """What decides the cost of a number of latents."""
        return "latents", self.biased, self.d_out, self.d_in, self.context

    @property
    def label(self) -> str:
        _, part, *group = self.path.split(".")
        part = {"kv": "keys and values", "k": "keys", "v": "values"}[part]
        return f"block {self.block} · {part}" + "".join(f" · heads {g}" for g in group)

    def weights(self, rank: int | None) -> int:
        """Parameters of the layer that makes so many latents (or an array of numbers of them), each byte as one."""
        rank = self.max_rank if rank is None else rank
        bias = (rank < self.max_rank) * (self.d_out if self.biased else 0)
        return rank * (self.d_in + self.d_out) - rank * rank - (-self.d_out // 8) + bias

    def cost(self, rank: int | np.ndarray) -> int | np.ndarray:
        """Numbers in the cache per token; those of a dense one where latents add more to the weights than they save."""
        worth = (self.d_out - rank) * self.context > self.weights(rank) - self.d_out * self.d_in
        return np.where(worth, rank, self.d_out) if isinstance(rank, np.ndarray) else rank if worth else self.d_out


@dataclass(frozen=True)
class KVPlan:
    """Latents per token of every unit; None where keys and values stay as they are."""

    ranks: Mapping[str, int | None]

    def ratio(self, units: Sequence[KVUnit]) -> float:
        """The share of a token's keys and values that is not stored."""
        return 1.0 - self.stored(units) / sum(u.parameters for u in units)

    def stored(self, units: Sequence[KVUnit]) -> int:
        """Numbers in the cache per token."""
        return sum(u.parameters if self.ranks.get(u.path) is None else self.ranks[u.path] for u in units)

    def weights(self, units: Sequence[KVUnit]) -> tuple[int, int]:
        """Parameters of the layers of keys and values: dense, and as they are under this plan, bits as in `weights`."""
        latent = {u.block for u in units if self.ranks.get(u.path) is not None}
        layers: dict[tuple, list[KVUnit]] = {}
        for u in units:
            layers.setdefault(u.layer, []).append(u)
        now = 0
        for members in layers.values():
            width, first = sum(u.d_out for u in members), members[0]
            if first.block not in latent:
                now += width * first.d_in
                continue
            ranks = {u: self.ranks.get(u.path) or u.max_rank for u in members}
            bias = any(u.biased and r < u.max_rank for u, r in ranks.items()) * (first.lead + width)
            now += sum(r * (u.d_in + u.d_out - r) for u, r in ranks.items()) - (-width // 8) + bias
        return sum(u.d_out * u.d_in for u in units), now


def check_kv_ratio(ratio: float) -> float:
    """The ratio as a float in [0, 1); BadValue otherwise."""
    try:
        value = float(ratio)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 <= value < 1.0:
        raise BadValue(
            f"The KV ratio is {ratio!r}.",
            "Give the share of each token's keys and values that is not stored, from 0 and below 1, such as 0.5.",
        )
    return value


def units_of_blocks(places: Sequence, method: KVMethod, context: int, heads: int | None = None) -> tuple[KVUnit, ...]:
    """The units of KVPlaces under a method, those that cannot hold latents left out.

    `heads`: of keys and of values that share a basis, None for all of a block; BadValue where a block has no such
    groups.
    """
    units = []
    for p in places:
        if p.why_not:
            continue
        parts = runs(method, p.keys, p.values, groups_of(p.heads, heads))
        more = {"biased": method.inputs == "covariance" and not p.bias, "lead": p.lead}
        units += [KVUnit(f"{p.block}.{part}", p.block, rows, p.d_in, context, **more) for part, rows in parts.items()]
    return tuple(units)


def groups_of(there: int, heads: int | None) -> int:
    """How many groups of so many heads there are; BadValue where they do not come out even."""
    if heads is None:
        return 1
    if heads < 1 or there % heads:
        fit = ", ".join(str(n) for n in range(1, there + 1) if there % n == 0)
        raise BadValue(f"A block's {there} key heads make no groups of {heads}.", f"Give one of {fit}.")
    return there // heads


def plan_latents(units: Sequence[KVUnit], curves: Mapping[str, np.ndarray], ratio: float, allocator: str) -> KVPlan:
    """The plan that stores at most 1 − ratio of the units' numbers per token.

    `curves`: path → predicted nats per token at 0 … max_rank latents. Whatever budget a rule leaves goes where it saves
    most. A unit whose layers read less than they give is never dense: as many latents as they read lose nothing.
    BudgetNotFeasible where one latent each is too much.
    """
    if check_kv_ratio(ratio) == 0:
        return KVPlan({u.path: None for u in units})
    priced = {u.path: np.minimum.accumulate(np.asarray(curves[u.path], float)) for u in units}
    found = ALLOCATORS[allocator].plan(Problem(tuple(units), ratio, priced)).ranks
    lossless = {u.path: u.max_rank if u.max_rank < u.d_out else None for u in units}
    return KVPlan({path: lossless[path] if rank is None else rank for path, rank in found.items()})
