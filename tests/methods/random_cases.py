"""Random cases for every method: each is finite and right, or refused by a typed error that names the site.

`python -m tests.methods.random_cases --cases 1000` counts them over the whole registry; the suite runs 100.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lowrank_core.calibration.accumulate import Moments
from lowrank_core.calibration.fisher import OutputMoments
from lowrank_core.errors import LowRankError
from lowrank_core.methods import METHODS, Factorization, Statistics
from lowrank_core.study.build import factorize_unit
from lowrank_core.types import Site, Unit

RIGHT = 1e-8  # of what the weight, or its output, measures
KINDS = ("regular", "few", "dead", "flat", "zero", "loud", "offset", "half", "silent weight", "half weight", "broken")
PATH = "blocks.7.the_site"


@dataclass(frozen=True)
class Case:
    """A weight and what calibration says about it."""

    seed: int
    kind: str
    weight: Tensor  # (m, n) float64
    statistics: Statistics
    spoiled: bool = False  # whether the weight holds what is no number
    settings: dict = field(default_factory=dict)  # method → its parameters, where not its defaults


def statistics_of(x: Tensor, g: Tensor) -> Statistics:
    """The statistics of inputs x (N, n) and output gradients g (N, m), by the accumulators themselves."""
    site = Site(PATH, 7, "q", "7.q", g.shape[1], x.shape[1])
    inputs, outputs = Moments.zeros(x.shape[1], x.device), OutputMoments.zeros(site, x.device)
    inputs.add(x, "7.q")
    outputs.add(x[None], g[None], PATH)
    found, more = inputs.statistics(), outputs.means()
    return Statistics(found.gram, found.abs_mean, found.abs_max, found.tokens, found.mean, **more)


def draw(seed: int) -> Case:
    """The case of a seed: any small shape; inputs few, dead, low-rank, zero, loud, off centre or near fp16's end."""
    rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
    m, n, kind = rng.randint(1, 12), rng.randint(1, 12), KINDS[seed % len(KINDS)]
    w = torch.randn(m, n, dtype=torch.float64, generator=g) * 10 ** rng.uniform(-3, 3)
    x = torch.randn(rng.randint(1, n) if kind == "few" else 40, n, dtype=torch.float64, generator=g)
    y = torch.randn(len(x), m, dtype=torch.float64, generator=g) * 10 ** rng.uniform(-6, 2)
    if kind == "dead":
        x[:, torch.randperm(n, generator=g)[: rng.randint(1, n)]] = 0
        y[:, torch.randperm(m, generator=g)[: rng.randint(0, m)]] = 0
    if kind == "flat":
        rank = rng.randint(1, n)
        x = x[:, :rank] @ torch.randn(rank, n, dtype=torch.float64, generator=g)
    if kind == "zero":
        x, y = torch.zeros_like(x), y * rng.randint(0, 1)
    if kind == "loud":
        x[:, rng.randrange(n)] *= 1e6
        y[:, rng.randrange(m)] *= 10 ** rng.uniform(0, 6)
    if kind == "offset":
        x = x + torch.randn(n, dtype=torch.float64, generator=g) * 10 ** rng.uniform(0, 4)
    if kind == "half":
        x = (x / x.abs().amax() * 6e4).half()
    if kind == "silent weight":
        w[rng.randrange(m) :] = 0
    if kind == "half weight":
        w = (w / w.abs().amax() * 6e4).half().double()
    if kind == "broken":
        w[rng.randrange(m), rng.randrange(n)] = rng.choice([float("nan"), float("inf"), -float("inf")])
    settings = {key: method.settle(_parameters(rng, method)) for key, method in METHODS.items()}
    return Case(seed, kind, w, statistics_of(x, y), kind == "broken", settings)


def _parameters(rng: random.Random, method) -> dict[str, float]:
    """Any of a method's parameters, most often its defaults."""
    found = {}
    for p in method.parameters:
        if rng.random() < 0.5:
            number = rng.choice(
                (p.low, min(p.high, 2.0), rng.uniform(p.low, min(p.high, 2.0)), 10 ** rng.uniform(-6, 0))
            )
            found[p.name] = float(rng.randint(0, int(p.high))) if p.names else number
    return found


def unit_of(case: Case, key: str) -> Unit:
    """The unit whose weight it is."""
    return Unit((Site(PATH, 7, "q", "7.q", *case.weight.shape),), key, case.settings.get(key, METHODS[key].settle()))


def outcome(case: Case, key: str) -> str:
    """ "right", "refused", or what is silently wrong."""
    try:
        made = factorize_unit(unit_of(case, key), case.weight, case.statistics)
    except LowRankError as error:
        return "refused" if PATH in error.message else f"an error that names no site: {error}"
    if case.spoiled:
        return "factors of a weight that is not finite"
    return wrong(case.weight, case.statistics, made, METHODS[key].sliceable) or "right"


def wrong(w: Tensor, statistics: Statistics, made: Factorization, sliceable: bool) -> str:
    """What is wrong with a factorization of w; nothing where it is right."""
    size = w.norm()
    moment = statistics.gram
    if made.mean is not None:
        moment = moment - torch.outer(made.mean, made.mean)
    scale = float(((w @ statistics.gram) * w).sum().clamp_min(0))
    # tr(Δ C Δᵀ) is only known to what rounding Δ gives it back: (ε ‖W‖)² tr C
    scale += float((size.square() * statistics.gram.trace()) * 1e-12)
    if not all(torch.isfinite(t).all() for t in (made.sigma, made.output_error)):
        return "a spectrum that is not finite"
    if (made.sigma < 0).any() or (made.sigma[:-1] < made.sigma[1:] - 1e-12 * made.sigma[0]).any():
        return "singular values that do not fall"
    for rank in range(min(w.shape) + 1):
        cut = made.cut(rank)
        if cut.left.shape != (len(w), rank) or cut.right.shape != (rank, w.shape[1]):
            return f"factors of another shape at rank {rank}"
        if not (torch.isfinite(cut.left).all() and torch.isfinite(cut.right).all()):
            return f"factors that are not finite at rank {rank}"
        rest = w - cut.left @ cut.right
        true = float(((rest @ moment) * rest).sum())
        if sliceable and abs(float(made.output_error[rank]) - true) > RIGHT * scale:
            return f"an output error of {float(made.output_error[rank])} at rank {rank}, which is {true}"
        if rank == min(w.shape) and rest.norm() > RIGHT * size:
            return f"a full rank that misses the weight by {float(rest.norm() / size)}"
    return ""


def outcomes(cases: int, first: int = 0) -> Iterator[tuple[int, str, str, str]]:
    """(seed, kind, method, outcome) of every method on every case."""
    for seed in range(first, first + cases):
        case = draw(seed)
        for key in METHODS:
            yield seed, case.kind, key, outcome(case, key)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random cases over every method, and how many fail in silence.")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts = Counter()
    for seed, kind, key, found in outcomes(arguments.cases, arguments.first):
        known = found in ("right", "refused")
        counts[found if known else "silent"] += 1
        if not known:
            print(f"seed {seed} ({kind}), {key}: {found}")
    print(
        f"{arguments.cases} cases × {len(METHODS)} methods: {counts['right']} finite and right, "
        f"{counts['refused']} typed errors, {counts['silent']} silent failures"
    )
    return 1 if counts["silent"] else 0


if __name__ == "__main__":
    sys.exit(main())
