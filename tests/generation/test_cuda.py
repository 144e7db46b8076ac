"""What a CUDA device gives is what the CPU gives: `LOWRANK_GPU=1 python -m pytest tests/generation/test_cuda.py`."""

from copy import deepcopy

import pytest
import torch

from lowrank_core.generation.decoder import Decoder
from lowrank_core.generation.ready import ready
from lowrank_core.store import Store
from lowrank_core.study.compress import open_workbench, run
from lowrank_core.study.planning import whole_table
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.units import units_of
from tests.zoo import KINDS

from .test_ready import close, compressed, random_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA: needs a GPU, and LOWRANK_GPU=1")

PROMPT, STEPS = torch.arange(3, 9).view(1, 6), 8


def logits_of(model, batch: int) -> torch.Tensor:
    """(steps, B, V) of a prompt and of fixed tokens after it, on the CPU."""
    decoder = Decoder(model, PROMPT.shape[1] + STEPS)
    found = [decoder.run(PROMPT.expand(batch, -1)).float().cpu().clone()]
    for token in range(STEPS):
        found.append(decoder.run(torch.full((batch, 1), 10 + token)).float().cpu().clone())
    return torch.stack(found)


@pytest.mark.filterwarnings("ignore:Decoding runs without a CUDA graph")  # OPT, Falcon, mixtures of experts
@pytest.mark.parametrize("storage", ("dense", "factored", "pivoted"))
@pytest.mark.parametrize("model_type", KINDS)
def test_decoding_gives_what_the_cpu_gives(model_type, storage, tmp_path):
    model = compressed(random_model(model_type), storage)
    there = deepcopy(model).to("cuda")
    fast = ready(there, Store(tmp_path))
    for batch in (1, 4):
        wanted = logits_of(model, batch)
        assert close(logits_of(there, batch), wanted, 1e-3)
        assert close(logits_of(fast, batch), wanted, 1e-3)


def test_a_study_on_a_gpu_finds_what_one_on_the_cpu_finds(tmp_path):
    """Statistics, gradients and factors; measured points differ by rounding, which may turn a search that is greedy."""
    recipe = Recipe(ratio=0.3, method="asvd-i", allocator="waterfill", measure="none", windows=4, window=64)
    cpu, cuda = (run(recipe, Store(tmp_path / d), device=d, dtype="float32") for d in ("cpu", "cuda"))
    kept = [(rank or 0, cuda.plan.ranks[path] or 0) for path, rank in cpu.plan.ranks.items()]
    assert sum(abs(a - b) <= 1 for a, b in kept) >= 0.95 * len(kept), kept
    ids = torch.arange(3, 67).view(1, 64)
    with torch.inference_mode():
        here, there = (m.loaded.model(ids.to(d)).logits.float().cpu() for d, m in (("cpu", cpu), ("cuda", cuda)))
    assert close(there, here, 0.02)


def test_a_table_on_a_gpu_is_that_of_the_cpu(tmp_path):
    few = {"windows": 4, "window": 64, "probe_windows": 2}
    recipe = Recipe(ratio=0.3, method="asvd-i", allocator="strs", measure="table", **few)
    tables = []
    for device in ("cpu", "cuda"):
        bench = open_workbench(recipe, Store(tmp_path / device), device=device, dtype="float32")
        units = units_of(bench.loaded.anatomy.sites, recipe)
        drained(bench.calibrate())
        drained(bench.spectra(units))
        points = drained(bench.measure(whole_table(units[:14], recipe)))
        tables.append([p.delta_nll for p in points])
    assert len(tables[0]) == len(tables[1]) > 100
    assert max(abs(a - b) for a, b in zip(*tables, strict=True)) < 1e-4


def drained(job):
    """What a job returns."""
    try:
        while True:
            next(job)
    except StopIteration as end:
        return end.value
