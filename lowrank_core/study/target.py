"""The smallest model within a perplexity: the search of ASVD's cut, or of the ratio, by models built and measured.

ASVD's released search hands out the cut it probed last; this one ends at the converged cut, which was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..allocation import ALLOCATORS
from ..allocation.strs import Cuts
from ..calibration.texts import read_text
from ..errors import BadValue, LowRankError
from ..jobs import Job, Progress
from ..types import Measurement, Plan
from .knowledge import Knowledge
from .planning import make_plan, open_part
from .recipe import Recipe

if TYPE_CHECKING:
    from .build import Workbench

RATIOS = tuple(round(0.005 * i, 3) for i in range(190, 0, -1))  # tried by allocators that have no cuts, falling


@dataclass(frozen=True)
class Tried:
    """One probe of the search: a plan, and its measured perplexity."""

    plan: Plan
    ratio: float  # share of the units' parameters removed
    measured: Measurement
    within: bool  # whether its perplexity is within the target


@dataclass(frozen=True)
class Reached:
    """The plan of the smallest model within the target, None where even the least cut is beyond it; and every probe."""

    best: Tried | None
    tried: tuple[Tried, ...] = field(repr=False)


def reach(bench: "Workbench", recipe: Recipe, known: Knowledge) -> Job[Reached]:
    """The Reached of a recipe with a target. Yields one Progress per probe, with the Tried as its value.

    The perplexity is taken to rise with the cut, as ASVD does. BadValue where the dense model is beyond the target.
    """
    from .compress import evaluate

    text = read_text(recipe.target_text or recipe.text)
    dense = yield from evaluate.steps(bench, text)
    if dense.perplexity > recipe.target:
        raise BadValue(
            f"The dense model itself has perplexity {dense.perplexity:.3f} on {text.label}.",
            f"Ask for more than that, not {recipe.target:g}.",
        )
    count, plan_at = _plans(recipe, known)
    low, high = 0, count  # the answer is one of low … high; from `high` on nothing is cut
    tried: dict[int, Tried] = {}
    while low < high:
        middle = (low + high) // 2
        try:
            plan = plan_at(middle)
        except LowRankError:  # so great a ratio is out of reach with what is kept dense
            low = middle + 1
            continue
        found = yield from evaluate.steps(bench, text, None, recipe, plan)
        now = Tried(plan, plan.ratio(known.grid.units), found, found.perplexity <= recipe.target)
        tried[middle] = now
        low, high = (low, middle) if now.within else (middle + 1, high)
        yield Progress("target", len(tried), count.bit_length(), f"ratio {now.ratio:.3f}: {found.perplexity:.3f}", now)
    return Reached(tried.get(low), tuple(tried.values()))


def _plans(recipe: Recipe, known: Knowledge) -> tuple[int, Callable[[int], Plan]]:
    """How many plans there are from the greatest cut to none, and the plan at a place among them."""
    if not ALLOCATORS[recipe.allocator].measures:
        return len(RATIOS), lambda i: make_plan(recipe.model_copy(update={"ratio": RATIOS[i]}), known)
    fixed, chosen, _ = open_part(recipe.model_copy(update={"ratio": 1e-6}), known.grid.units, known.latents)
    cuts = Cuts.through(chosen, known.table(chosen, recipe.measuring == "table"))
    return cuts.place.size, lambda i: Plan({**fixed, **cuts.ranks(i)})
