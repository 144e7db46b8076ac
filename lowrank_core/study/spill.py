"""Factors of a large model on disk: of every rank, unit by unit, so that they are made once and slices read back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..methods import Factorization, Factors
from ..store import Artefact, Key, Store
from ..types import Unit

ENDS = (":left", ":right")  # after a unit's path, in what is stored


def full_size(units: tuple[Unit, ...], element_size: int) -> int:
    """Bytes of the factors of every rank of these units."""
    return element_size * sum(u.max_rank * (u.d_in + u.d_out) for u in units)


def keep(store: Store, key: Key, made: Factorization) -> None:
    """Store a sliceable factorization."""
    parts = {"left": made.left, "right": made.right, "sigma": made.sigma, "output_error": made.output_error}
    parts |= {k: v for k, v in (("mean", made.mean), ("loss", made.loss)) if v is not None}
    store.write(key, Artefact({k: raw(v) for k, v in parts.items()}, {"dtype": str(made.left.dtype)}))


def read(store: Store, key: Key, device: torch.device) -> Factorization | None:
    """A stored factorization, on a device; None where there is none."""
    found = store.read(key)
    if found is None:
        return None
    dtype = getattr(torch, found.facts["dtype"].removeprefix("torch."))
    parts = {k: torch.from_numpy(v).to(device) for k, v in found.arrays.items()}
    parts |= {k: of_dtype(parts[k], dtype) for k in ("left", "right")}
    return Factorization(**parts)


def alone(cut: Factors) -> Factors:
    """The factors of a rank in memory of their own: the rest of those they were cut from is given up."""
    return Factors(cut.left.clone(memory_format=torch.contiguous_format), cut.right.clone())


def raw(tensor: Tensor) -> np.ndarray:
    """The values for numpy, which has no bfloat16: of that the bits."""
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def of_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """What `raw` gave, as it was."""
    return tensor.view(dtype) if dtype == torch.bfloat16 else tensor


def keep_pairs(store: Store, key: Key, made: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Store left and right of several units, by their paths."""
    named = {path + end: part for path, pair in made.items() for end, part in zip(ENDS, pair, strict=True)}
    store.write(key, Artefact({name: raw(part) for name, part in named.items()}))


def read_pairs(store: Store, key: Key, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Unit path → left and right; {} where nothing is stored."""
    found = store.read(key)
    parts = {k: torch.from_numpy(v).to(device) for k, v in found.arrays.items()} if found else {}
    paths = [k.removesuffix(ENDS[0]) for k in parts if k.endswith(ENDS[0])]
    return {path: (parts[path + ENDS[0]], parts[path + ENDS[1]]) for path in paths}
