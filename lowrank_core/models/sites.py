"""The sites and blocks of a loaded model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ModelUnsupported
from ..modules import LOW_RANK
from ..types import Site
from .dense import DENSE, dense_weight, sizes
from .families import Family, family_of

LINEARS = (*DENSE, *LOW_RANK)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)  # their weights have three dimensions and more, too
EXPERTS = "experts"  # what every mixture of experts calls them


@dataclass(frozen=True)
class Anatomy:
    """How a model is taken apart."""

    family: str
    block_paths: tuple[str, ...]
    sites: tuple[Site, ...]  # in the order of the data flow
    bos: bool  # whether every window needs a BOS token in front
    carries: tuple[str, ...] = ()  # roles whose output is added to the residual stream as it is
    norm: str | None = None  # path of the last norm, where its gains are known to scale its channels
    norm_plus: float = 0.0  # what that norm adds to its weight to make the gains
    skipped: tuple[str, ...] = ()  # paths of the mixtures of experts, routers and all, that are left as they are

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

    @property
    def note(self) -> str:
        """What a user should know of what is left out; empty where nothing is."""
        if not self.skipped:
            return ""
        return f"The experts of {len(self.skipped)} blocks are left as they are: only attention is compressed there."


def anatomy(model: nn.Module) -> Anatomy:
    """The Anatomy of a causal language model: by its family's row, else every linear inside the longest list of blocks.

    Tied weights are never sites, nor are experts and what chooses them. ModelUnsupported where nothing can be factored.
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
    sites, skipped = [], []
    for index, block in enumerate(blocks):
        passed_over = _mixtures(block)
        skipped += [f"{blocks_path}.{index}.{name}" for name in passed_over]
        found = []
        for name, module in block.named_modules():
            left_out = any(name == p or name.startswith(p + ".") for p in passed_over)
            if isinstance(module, LINEARS) and id(module.weight) not in shared and not left_out:
                role, group = _place(family, name)
                path = f"{blocks_path}.{index}.{name}"
                found.append(Site(path, index, role, f"{index}.{group}", *sizes(module), module.bias is not None))
        sites += _in_flow(found, family)
    if not sites:
        raise ModelUnsupported("The model has no linear layer that may be factored.", "Only linear layers are.")
    paths = tuple(f"{blocks_path}.{i}" for i in range(len(blocks)))
    if family is None:
        return Anatomy("generic", paths, tuple(sites), False, skipped=tuple(skipped))
    known = all(getattr(model.config, name, value) == value for name, value in family.where.items())
    carries, norm = (family.carries, family.norm) if known else ((), None)
    return Anatomy(family.name, paths, tuple(sites), family.bos, carries, norm, family.norm_plus, tuple(skipped))


def weight_of(module: nn.Module) -> Tensor:
    """(d_out, d_in) float64 weight of a site's module, multiplied out where it is compressed."""
    return module.product() if isinstance(module, LOW_RANK) else dense_weight(module).detach().to(torch.float64)


def _place(family: Family | None, name: str) -> tuple[str, str]:
    role = family.roles.get(name) if family else None
    if role is None:
        last = name.rpartition(".")[2]
        return last, name  # unknown: a role and an input group of its own
    return role, family.groups[role]


def _in_flow(sites: list[Site], family: Family | None) -> list[Site]:
    """A block's sites in the order of its family's row, those that it does not name after them; else as they are."""
    if family is None:
        return sites
    order = list(family.roles.values())
    return sorted(sites, key=lambda s: order.index(s.role) if s.role in order else len(order))


def _mixtures(block: nn.Module) -> tuple[str, ...]:
    """The paths in a block of its mixtures of experts: what holds the experts, and with them their router."""
    found = {}
    for name, module in block.named_modules():
        stacked = any(p.dim() > 2 for p in module.parameters(recurse=False)) and not isinstance(module, CONVOLUTIONS)
        if name and (stacked or name.rpartition(".")[2] == EXPERTS):
            found[name.rpartition(".")[0] or name] = None
    return tuple(n for n in found if not any(n.startswith(other + ".") for other in found))


def _longest_list(model: nn.Module) -> str:
    """The path of the longest list of blocks that stands in no other list."""
    lists = {name: len(m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [name for name in lists if not any(name.startswith(other + ".") for other in lists)]
    if not outer:
        raise ModelUnsupported("The model has no list of blocks.", "Is it a causal language model?")
    return max(outer, key=lambda name: lists[name])


def _shared_parameters(model: nn.Module) -> set[int]:
    seen: set[int] = set()
    shared: set[int] = set()
    for _, p in model.named_parameters(remove_duplicate=False):
        (shared if id(p) in seen else seen).add(id(p))
    return shared
