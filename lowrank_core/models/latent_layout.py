"""Layers that make latents in a checkpoint: written into its configuration, made empty for weights to be loaded.

Like the quantizer, this is imported while transformers is: it names nothing of it at the top.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ModelCorrupt
from ..modules import LatentGroup, LatentLinear, LatentRest
from .dense import bare, dense_like, sizes
from .layout import AGAIN


def latent_entries(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Path of each layer that makes latents → what a configuration says of it; {} where there is none."""
    rests = {id(m.source): path for path, m in model.named_modules() if isinstance(m, LatentRest)}
    return {
        path: {
            "rank": m.rank,
            "lead": m.lead,
            "rest": rests.get(id(m)),
            "bias": m.bias is not None,
            **({"groups": [[list(g.rows), g.rank] for g in m.groups]} if len(m.groups) > 1 else {}),
        }
        for path, m in model.named_modules()
        if isinstance(m, LatentLinear)
    }


def read_entries(entries: Any) -> dict[str, dict[str, Any]]:
    """The entries of a configuration; ModelCorrupt where one of them is not what it should be."""
    kinds = {"rank": int, "lead": int, "rest": str | None, "bias": bool}
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        raise ModelCorrupt("The model's quantization_config has no table of latents.", AGAIN)
    for path, entry in entries.items():
        if not isinstance(entry, Mapping) or set(entry) - {"groups"} != set(kinds):
            raise ModelCorrupt(f"The latents of {path} are not described.", AGAIN)
        wrong = next((k for k, kind in kinds.items() if not isinstance(entry[k], kind)), None)
        if wrong:
            raise ModelCorrupt(f"The latents of {path} have the {wrong} {entry[wrong]!r}.", AGAIN)
        read_groups(path, entry)
    return {path: dict(entry) for path, entry in entries.items()}


def read_groups(path: str, entry: Mapping[str, Any]) -> tuple[LatentGroup, ...]:
    """The groups of an entry, () where all outputs are in one; ModelCorrupt where they are none, or overlap."""
    if "groups" not in entry:
        return ()
    try:
        groups = tuple(LatentGroup(tuple(map(int, rows)), int(rank)) for rows, rank in entry["groups"])
        every = sorted(run for g in groups for run in zip(g.rows[::2], g.rows[1::2], strict=True))
        follows = all(a < b == c for (a, b), (c, _) in zip(every, [*every[1:], (every[-1][1], 0)], strict=True))
        ranks = [g.rank for g in groups if 1 <= g.rank <= g.width]
        if follows and every[0][0] == 0 and len(ranks) == len(groups) and sum(ranks) == entry["rank"]:
            return groups
    except (TypeError, ValueError, IndexError):
        pass
    raise ModelCorrupt(f"The groups of latents of {path} do not fit it.", AGAIN)


def empty_latents(model: nn.Module, entries: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, tuple], path_in):
    """Path → an empty module for each entry; ModelCorrupt where model, entries and checkpoint disagree.

    `shapes`: name → shape of what is stored, where that is known; `path_in`: a path's name in this model.
    """
    made: dict[str, nn.Module] = {}
    for path, entry in entries.items():
        name, rest = path_in(model, path), entry["rest"]
        layer = model.get_submodule(name)
        (d_out, d_in), more = sizes(layer), sizes(model.get_submodule(path_in(model, rest)))[0] if rest else 0
        width, rank, lead = d_out + more - entry["lead"], entry["rank"], entry["lead"]
        groups = read_groups(path, entry)
        most = sum(min(g.width, d_in) for g in groups) if groups else min(width, d_in)
        if groups and sum(g.width for g in groups) != width:
            raise ModelCorrupt(f"The groups of latents of {path} do not fit it.", AGAIN)
        if not (0 <= lead < d_out and 1 <= rank <= most):
            raise ModelCorrupt(f"{path} has {rank} latents.", f"They must be between 1 and {most}.")
        wanted = LatentLinear.shapes(d_in, width, rank, lead, groups) | (
            {"bias": (lead + width,)} if entry["bias"] else {}
        )
        for part, shape in wanted.items():
            if shapes and shapes.get(f"{path}.{part}") != shape:
                what = f"has shape {shapes[f'{path}.{part}']}" if f"{path}.{part}" in shapes else "is missing"
                raise ModelCorrupt(f"{path}.{part} {what}; the model needs {shape}.", AGAIN)
        make = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        made[name] = LatentLinear.empty(d_in, width, rank, lead, d_out, **make, bias=entry["bias"], groups=groups)
        if rest:
            made[path_in(model, rest)] = LatentRest(made[name])
    return made


def check_latents(model: nn.Module) -> None:
    """Nothing; ModelCorrupt where a loaded layer's pivots are not its own. Its parameters are frozen."""
    for path, module in model.named_modules():
        if isinstance(module, LatentLinear):
            module.requires_grad_(False)  # the loader makes every float parameter trainable
            if not module.pivots.is_meta and not module.sound():
                raise ModelCorrupt(f"The pivots of {path} are not {module.rank} of its rows.", AGAIN)


def merged_latents(model: nn.Module) -> dict[str, nn.Module]:
    """Path → the dense layer of each one that makes or uses latents; the cache is then an ordinary one."""
    made: dict[str, nn.Module] = {}
    skeleton = None
    for path, module in model.named_modules():
        if isinstance(module, LatentLinear):
            rows, source = slice(0, module.shown), module
        elif isinstance(module, LatentRest):
            rows, source = slice(module.source.shown, None), module.source
        else:
            continue
        skeleton = skeleton or bare(model)
        weight = source.product(torch.promote_types(source.weight.dtype, torch.float32))[rows].to(source.weight.dtype)
        bias = None if source.bias is None else source.bias[rows].detach()
        made[path] = dense_like(type(skeleton.get_submodule(path)), weight, bias).train(module.training)
    return made
