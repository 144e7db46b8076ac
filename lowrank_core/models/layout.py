"""Which module stands at each compressed site: read from a model, written in a configuration, checked in between.

Like the quantizer, this is imported while transformers is: of it, it names nothing at the top.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import BadValue, LowRankError, ModelCorrupt
from ..modules import LOW_RANK, FactoredLinear, JointLinear, LatentLinear, PivotedLinear
from .dense import DENSE, bare, sizes

FACTORED, PIVOTED = "factored", "pivoted"
AGAIN = "Save or download the compressed model again."


@dataclass(frozen=True)
class Layout:
    """How the compressed sites of a model lie in its checkpoint; a site that has no rank here is dense."""

    ranks: Mapping[str, int]  # path → rank
    storage: str = FACTORED  # what sites are where nothing else is said
    factored: tuple[str, ...] = ()  # sites that are two factors where the storage is pivoted
    shared: Mapping[str, str] = field(default_factory=dict)  # site that holds a left factor → site whose right it uses
    biased: tuple[str, ...] = ()  # sites whose dense layer has no bias, but whose compressed one does

    def kind(self, path: str) -> type[nn.Module]:
        """The class of module at a compressed site."""
        if path in self.shared:
            return JointLinear
        plain = self.storage == FACTORED or path in self.factored or path in self.shared.values()
        return FactoredLinear if plain else PivotedLinear

    @property
    def order(self) -> list[str]:
        """The sites, those that another one needs before those that need them."""
        return sorted(self.ranks, key=lambda path: path in self.shared)

    def family(self, path: str) -> list[str]:
        """The sites that use one right factor with this one, itself among them."""
        source = self.shared.get(path, path)
        return [source, *(p for p, s in self.shared.items() if s == source)]

    @property
    def exceptions(self) -> dict[str, Any]:
        """What a configuration says beyond ranks and storage; empty for plain layouts, whose folders stay as before."""
        found = {"factored": list(self.factored), "shared": dict(self.shared), "biased": list(self.biased)}
        return {k: v for k, v in found.items() if v}

    @property
    def notes(self) -> dict[str, str]:
        """Path → what a reader should know of a site beyond its rank."""
        notes: dict[str, list[str]] = {}
        for path, source in self.shared.items():
            notes.setdefault(path, []).append(f"right factor of {source}")
        for path in self.factored:
            notes.setdefault(path, []).append("two factors")
        for path in self.biased:
            notes.setdefault(path, []).append("bias added")
        return {path: ", ".join(said) for path, said in notes.items()}


def read_layout(ranks: Any, storage: str, factored: Any, shared: Any, biased: Any) -> Layout:
    """The Layout of a configuration's entries; ModelCorrupt where one of them is not what it should be."""
    if not isinstance(ranks, Mapping):
        raise ModelCorrupt("The model's quantization_config has no table of ranks.", AGAIN)
    for path, rank in ranks.items():
        if not isinstance(rank, int) or isinstance(rank, bool):
            raise ModelCorrupt(f"The rank of {path} is {rank!r}, not a whole number.", AGAIN)
    for name, paths in (("factored", factored), ("biased", biased)):
        paths = () if paths is None else paths
        if not isinstance(paths, list | tuple) or not all(isinstance(p, str) and p in ranks for p in paths):
            raise ModelCorrupt(f"The model's quantization_config names layers as {name} that have no rank.", AGAIN)
    if not isinstance(shared, Mapping | None):
        raise ModelCorrupt("The model's quantization_config has no table of shared factors.", AGAIN)
    for path, source in (shared or {}).items():
        whole = isinstance(source, str) and path in ranks and source in ranks and source not in shared
        if not whole or ranks[path] != ranks[source]:
            raise ModelCorrupt(f"{path} cannot use the right factor of {source!r}.", AGAIN)
    return Layout(dict(ranks), storage, tuple(factored or ()), dict(shared or {}), tuple(biased or ()))


def layout_of(model: nn.Module) -> Layout:
    """The Layout that a model's modules have; BadValue where a right factor is shared that stands nowhere in it."""
    found = low_rank(model)
    path_of = {id(module): path for path, module in found.items()}
    shared = {path: path_of.get(id(m.source)) for path, m in found.items() if isinstance(m, JointLinear)}
    if lost := next((path for path, source in shared.items() if source is None), None):
        raise BadValue(f"{lost} uses the right factor of a layer that the model no longer has.", "Compress it again.")
    pivoted = any(isinstance(m, PivotedLinear) for m in found.values())
    plain = [p for p, m in found.items() if isinstance(m, FactoredLinear) and p not in shared.values()]
    return Layout(
        {path: m.rank for path, m in found.items()},
        PIVOTED if pivoted else FACTORED,
        tuple(plain) if pivoted else (),
        shared,
        added_biases(model, [path for path, m in found.items() if m.bias is not None]),
    )


def low_rank(model: nn.Module) -> dict[str, nn.Module]:
    """Path → module of a model's compressed layers."""
    return {path: m for path, m in model.named_modules() if isinstance(m, LOW_RANK)}


def stored_tensors(model: nn.Module) -> Iterator[Tensor]:
    """What a model weighs: its parameters, tied and shared ones once, and the bits of pivoted layers."""
    yield from model.parameters()
    yield from (m.pivots for m in model.modules() if isinstance(m, PivotedLinear | LatentLinear))


def check_sites(model: nn.Module, layout: Layout, names: Mapping[str, str], kind: type[LowRankError]) -> None:
    """Nothing; an error of this kind where a site cannot hold what the layout says.

    `names`: path in the layout → path in this model.
    """
    tied = {*model.all_tied_weights_keys.keys(), *model.all_tied_weights_keys.values()}
    sites = {path: model.get_submodule(names[path]) for path in layout.ranks}
    for path, linear in sites.items():
        if not isinstance(linear, (*DENSE, *LOW_RANK)):
            raise kind(
                f"{path} is a {type(linear).__name__}, not a linear layer.", "Only linear layers can be factored."
            )
        if f"{names[path]}.weight" in tied:
            raise kind(
                f"{path} shares its weight with another module.", "Only weights that are not tied can be factored."
            )
    for path, rank in layout.ranks.items():
        family = [sites[p] for p in layout.family(path)]
        d_in = sizes(family[0])[1]
        if sizes(sites[path])[1] != d_in:
            raise kind(f"{path} has another input than {layout.shared[path]}.", "They cannot share a right factor.")
        most = min(d_in, sum(sizes(m)[0] for m in family))
        if not 1 <= rank <= most:
            raise kind(f"{path} has rank {rank}.", f"It must lie between 1 and {most}.")


def added_biases(model: nn.Module, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the sites with a bias whose dense layer has none: asked of a model of the same configuration."""
    paths = list(paths)
    if not paths:
        return ()
    dense = bare(model)
    return tuple(path for path in paths if dense.get_submodule(path).bias is None)
