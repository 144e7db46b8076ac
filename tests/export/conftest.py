"""A tiny model compressed by plain SVD, what it says, and fresh processes to load it in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lowrank_core.models.loading import LoadedModel, load_model
from lowrank_core.models.sites import weight_of
from lowrank_core.models.surgery import factored, joined, pivoted, put, share_copy
from lowrank_core.modules import FactoredLinear

from ..tiny import tiny_llama

ROOT = Path(__file__).resolve().parents[2]
IDS = torch.arange(24).reshape(2, 12) * 7 % 300
RECIPE = {"model": "tiny", "text": "demo", "windows": 4, "window": 16, "seed": 0, "method": "svd",
          "allocator": "uniform", "ratio": 0.3}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
STORED = ("factored", "pivoted", "joint", "mixed")  # what `compress_by` can make


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def compress(loaded: LoadedModel, keep_dense: str = "o_proj"):
    """A compressed model and its ranks; the factors are slices of full-rank stores, as the studio makes them."""
    model, ranks = share_copy(loaded.model), {}
    for index, site in enumerate(loaded.anatomy.sites):
        linear = model.get_submodule(site.path)
        ranks[site.path] = None if keep_dense and keep_dense in site.path else site.max_rank // 3 + index % 3
        if ranks[site.path] is None:
            continue
        u, s, v = torch.linalg.svd(weight_of(linear), full_matrices=False)
        left, right = (u * s).to(linear.weight.dtype), v.to(linear.weight.dtype)
        rank = ranks[site.path]
        put(model, site.path, factored(linear, left[:, :rank], right[:rank]))
    return model, ranks


def compress_by(loaded: LoadedModel, storage: str, biased: bool = False):
    """A model compressed by plain SVD in a storage, and its ranks; with `biased`, some layers get a bias as well.

    "joint": q/k/v and gate/up share their right factors, the rest is factored; "mixed": one of everything in each
    block, from pivoted attention over a dense down projection to a joint gate/up.
    """
    model, ranks = share_copy(loaded.model), {s.path: None for s in loaded.anatomy.sites}
    for key, sites in loaded.anatomy.groups.items():
        kind = storage
        if storage == "mixed":
            kind = {"qkv": "pivoted", "o": "factored", "gate_up": "joint", "down": None}[key.partition(".")[2]]
        if kind is None:
            continue
        linears = [model.get_submodule(s.path) for s in sites]
        biases = [torch.linspace(-1, 1, s.d_out) if biased and x.bias is None and s.role in "qodown" else None
                  for s, x in zip(sites, linears, strict=True)]
        for part in [range(len(sites))] if kind == "joint" else [[i] for i in range(len(sites))]:
            u, s, v = torch.linalg.svd(torch.cat([linears[i].weight.double() for i in part]), full_matrices=False)
            rank = len(s) // 3 + len(key) % 3
            left, right = (x.contiguous() for x in (u[:, :rank] * s[:rank].sqrt(), s[:rank].sqrt()[:, None] * v[:rank]))
            if kind == "joint":
                modules = joined(linears, left.split([s.d_out for s in sites]), right, biases)
            else:
                modules = [{"pivoted": pivoted, "factored": factored}[kind](linears[i], left, right, biases[i])
                           for i in part]
            for i, module in zip(part, modules, strict=True):
                put(model, sites[i].path, module)
                ranks[sites[i].path] = rank
    return model, ranks


def said(model) -> torch.Tensor:
    """The logits with contiguous factors: the same values as the slices, which may sum in another order."""
    copy = share_copy(model)
    for path, m in model.named_modules():
        if isinstance(m, FactoredLinear):
            put(copy, path, FactoredLinear(m.weight_u.contiguous(), m.weight.contiguous(), m.bias))
    return logits(copy)


@pytest.fixture(params=DTYPES)
def dense(request, tiny) -> LoadedModel:
    """The tiny tied GQA model in both dtypes."""
    return load_model(tiny, "cpu", request.param)


@pytest.fixture(scope="session")
def biased(tmp_path_factory) -> LoadedModel:
    """The same with biases and untied embeddings, in four shards."""
    folder = tiny_llama(tmp_path_factory.mktemp("biased"), shard="30KB", tie_word_embeddings=False,
                        attention_bias=True, mlp_bias=True)
    loaded = load_model(folder, "cpu")
    for name, p in loaded.model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(len(name)))
    return loaded


@pytest.fixture(scope="session")
def python():
    """Run lines in a fresh process; the completed process."""

    def run(*lines: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, text=True,
                              timeout=120)

    return run
