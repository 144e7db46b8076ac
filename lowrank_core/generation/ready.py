"""A model made ready to run fast: every site in the form that is fastest on the device at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ..jobs import Job, Progress, job
from ..models.footprint import bytes_read
from ..models.sites import Anatomy, anatomy
from ..models.surgery import put, share_copy
from ..modules.product import ROWS
from ..store import Store
from .attention import pack_attention
from .forms import Matrices, alone, dense, fold, matrices_of, outlines, padded, together
from .norms import quick_norms
from .products import ALIGNED, Products

BESIDE = 2**30  # bytes of weights that a program which keeps the first model may have twice
EARNED = 0.05  # share of the cost that a matrix multiplied out has to save
FEEDING = {"gate": "down", "up": "down"}  # role → the role that reads its outputs, one by one, after a function of each


@dataclass(frozen=True)
class Form:
    """How the sites of an input group run: for tests, which take every one; else the fastest is taken."""

    joined: bool = False  # one first product
    merged: bool = False  # multiplied out
    multiple: int = 1  # ranks padded to multiples of this
    layout: str = ROWS


@job
def ready(model: nn.Module, store: Store | None = None, form: Form | None = None, keep: bool = True) -> Job[nn.Module]:
    """A second model, for running only, that gives what the first gives up to rounding, as fast as was measured here.

    What it holds in the first one's layout it shares with it. `store`: where the measurements are kept. `form`: take
    this one everywhere instead of measuring. `keep`: False to empty the first model on the way, so that both never
    stand in memory.
    """
    parts = anatomy(model)
    weight = model.get_submodule(parts.sites[0].path).weight
    products = Products(weight.device, weight.dtype, bytes_read(model), store)
    second = share_copy(model)
    pack_attention(second)
    quick_norms(second)
    groups = groups_of(second, parts)
    by_block: dict[int, list[list[str]]] = {}
    for block, paths in groups:
        by_block.setdefault(block, []).append(paths)
    for i, (block, members) in enumerate(by_block.items()):
        sites = {p: m for paths in members for p in paths if (m := matrices_of(second.get_submodule(p))) is not None}
        sites = folded(sites, parts, block)
        for paths in members:
            paths = [p for p in paths if p in sites]
            for path, made in zip(paths, modules_of([sites[p] for p in paths], products, form), strict=True):
                put(second, path, made.train(False))
                if not keep:
                    put(model, path, nn.Identity())
        yield Progress("forms", i + 1, len(by_block), "head" if block < 0 else f"block {block}")
    products.keep()
    return second


@job
def beside(model: nn.Module, store: Store | None = None) -> Job[nn.Module]:
    """The model made ready, to run beside it; itself on a GPU, or where a second copy of its weights would be much."""
    if next(model.parameters()).is_cuda or bytes_read(model) > BESIDE:
        return model
    return (yield from ready.steps(model, store))


def groups_of(model: nn.Module, parts: Anatomy) -> list[tuple[int, list[str]]]:
    """(block, paths) of the sites that read one input; and of every other linear (the head), alone, in block −1."""
    groups = [(sites[0].block, [s.path for s in sites]) for sites in parts.groups.values()]
    known = {s.path for s in parts.sites}
    return groups + [(-1, [path]) for path, m in model.named_modules() if type(m) is nn.Linear and path not in known]


def folded(sites: Mapping[str, Matrices], parts: Anatomy, block: int) -> dict[str, Matrices]:
    """The sites of a block with gathers folded into what reads them, where a row of FEEDING says that it may be."""
    sites = dict(sites)
    roles = {s.role: s for s in parts.sites if s.block == block}
    for target in set(FEEDING.values()) & set(roles):
        feeders = [roles[r].path for r, t in FEEDING.items() if t == target and r in roles]
        there = all(p in sites for p in (*feeders, roles[target].path))
        if there and feeders and all(sites[p].d_out == roles[target].d_in for p in feeders):
            fed = roles[target].path
            changed, sites[fed] = fold({p: sites[p] for p in feeders}, sites[fed])
            sites |= changed
    return sites


def modules_of(sites: Sequence[Matrices], products: Products, form: Form | None) -> list[nn.Module]:
    """The modules of sites that read one input, in the form given, or the one whose products take least time."""
    if not sites:
        return []
    if form is not None:
        taken = [dense(s) if form.merged else padded(s, form.multiple) for s in sites]
        if form.joined and len(sites) > 1:
            return together(taken, form.layout, [form.layout] * len(taken))
        return [alone(s, form.layout, form.layout) for s in taken]
    shapes = outlines(sites)

    def price(how: tuple[str, ...]) -> float:
        """Its cost; what is multiplied out takes memory and has to earn it."""
        return cost(treated(shapes, how), products) * (1 + EARNED * any(h == "dense" for h in how))

    cheapest = min(treatments(shapes, products), key=price)
    best = treated(sites, cheapest)
    then = [products.best(*s.then.shape)[0] if s.then is not None else ROWS for s in best]
    if joined(best, products) < apart(best, products):
        return together(best, products.best(*_stacked(best))[0], then)
    return [alone(s, products.best(*s.first.shape)[0], t) for s, t in zip(best, then, strict=True)]


def treatments(sites: Sequence[Matrices], products: Products) -> list[tuple[str, ...]]:
    """What may be done to sites: nothing, aligned ranks, and multiplying out, where it pays for a site alone or at all.

    A factor that several use is not padded: it would be one for each.
    """
    found = [("as is",) * len(sites), ("dense",) * len(sites)]
    if len({id(s.first) for s in sites}) == len(sites):
        found.append(("aligned",) * len(sites))
    cheaper = [s.then is not None and apart([dense(s)], products) < apart([s], products) for s in sites]
    found.append(tuple("dense" if c else "as is" for c in cheaper))
    return [tuple("as is" if s.then is None else h for s, h in zip(sites, how, strict=True)) for how in found]


def treated(sites: Sequence[Matrices], how: Sequence[str]) -> list[Matrices]:
    """The sites after what is done to them."""
    does = {"as is": lambda s: s, "aligned": lambda s: padded(s, ALIGNED), "dense": dense}
    return [does[h](s) for s, h in zip(sites, how, strict=True)]


def cost(sites: Sequence[Matrices], products: Products) -> float:
    """The cost of a turn with the first products apart or joined, whichever is less."""
    return min(apart(sites, products), joined(sites, products))


def apart(sites: Sequence[Matrices], products: Products) -> float:
    """The cost of a turn with every site for itself."""
    return sum(products.best(*s.first.shape)[1] for s in sites) + _later(sites, products)


def joined(sites: Sequence[Matrices], products: Products) -> float:
    """The cost of a turn with one first product."""
    if len(sites) == 1:
        return float("inf")
    return products.best(*_stacked(sites))[1] + _later(sites, products) + len(sites) * products.take()


def _later(sites: Sequence[Matrices], products: Products) -> float:
    return sum(
        (products.best(*s.then.shape)[1] if s.then is not None else 0.0) + (products.gather(s.d_out) if s.both else 0.0)
        for s in sites
    )


def _stacked(sites: Sequence[Matrices]) -> tuple[int, int]:
    """The shape of the joined first product."""
    return sum(len(f) for f in {id(s.first): s.first for s in sites}.values()), sites[0].first.shape[1]
