"""The sites and blocks of a loaded model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ModelUnsupported
from ..modules import LOW_RANK
from ..types import Site
from .families import Family, family_of

LINEARS = (nn.Linear, *LOW_RANK)


@dataclass(frozen=True)
class Anatomy:
    """How a model is taken apart."""

    family: str
    block_paths: tuple[str, ...]
    sites: tuple[Site, ...]  # in the order of the data flow
    bos: bool

    def site(self, path: str) -> Site:
        """The site at a path."""
        return next(s for s in self.sites if s.path == path)

    @property
    def groups(self) -> dict[str, tuple[Site, ...]]:
        """Input group key → its sites."""
        found: dict[str, list[Site]] = {}
        for s in self.sites:
            found.setdefault(s.group, []).append(s)
        return {k: tuple(v) for k, v in found.items()}


def anatomy(model: nn.Module) -> Anatomy:
    """The Anatomy of a causal language model: by its family's row, else every linear inside the longest list of blocks.

    Tied weights are never sites. ModelUnsupported where there is nothing to factor.
    """
    family = family_of(model.config.model_type)
    blocks_path = family.blocks if family else _longest_list(model)
    try:
        blocks = model.get_submodule(blocks_path)
    except AttributeError as error:
        raise ModelUnsupported(
            f"The model has no {blocks_path}.", "Its layout is not one this program knows."
        ) from error
    shared = _shared_parameters(model)
    sites = []
    for index, block in enumerate(blocks):
        for name, module in block.named_modules():
            if isinstance(module, LINEARS) and id(module.weight) not in shared:
                role, group = _place(family, name)
                path = f"{blocks_path}.{index}.{name}"
                size = (module.out_features, module.in_features)
                sites.append(Site(path, index, role, f"{index}.{group}", *size, module.bias is not None))
    if not sites:
        raise ModelUnsupported("The model has no linear layer that may be factored.", "Only nn.Linear layers are.")
    paths = tuple(f"{blocks_path}.{i}" for i in range(len(blocks)))
    return Anatomy(family.name if family else "generic", paths, tuple(sites), bool(family and family.bos))


def weight_of(module: nn.Module) -> Tensor:
    """(d_out, d_in) float64 weight of a site's module, multiplied out where it is compressed."""
    return module.product() if isinstance(module, LOW_RANK) else module.weight.detach().to(torch.float64)


def _place(family: Family | None, name: str) -> tuple[str, str]:
    role = family.roles.get(name) if family else None
    if role is None:
        last = name.rpartition(".")[2]
        return last, name  # unknown: a role and an input group of its own
    return role, family.groups[role]


def _longest_list(model: nn.Module) -> str:
    lists = [(len(m), name) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise ModelUnsupported("The model has no list of blocks.", "Is it a causal language model?")
    return max(lists)[1]


def _shared_parameters(model: nn.Module) -> set[int]:
    seen: set[int] = set()
    shared: set[int] = set()
    for _, p in model.named_parameters(remove_duplicate=False):
        (shared if id(p) in seen else seen).add(id(p))
    return shared
