"""The KV cache as latents, measured: loss, bytes counted from the stored tensors, and what rebuilding costs."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..calibration.texts import Text, read_text
from ..calibration.windows import cut_windows
from ..generation.decoder import Decoder
from ..jobs import Job, Progress, job
from ..kv.cache import stored_bytes
from ..kv.price import CONTEXTS, REPEATS, rebuild_ms, wait_for
from ..models.loading import LoadedModel, load_model
from ..store import Store
from ..study.build import Workbench
from ..study.compress import compress, evaluate, open_workbench
from ..study.latents import calibrate_latents
from ..study.recipe import Recipe
from ..types import Measurement, Plan


@dataclass(frozen=True)
class KVRow:
    """One way of storing the cache, weights otherwise dense, on one text."""

    method: str
    allocator: str
    heads: int | None  # that share a basis; None: all of a block
    kv_ratio_asked: float
    kv_ratio_achieved: float  # counted from the latents per block
    text: str
    nll_above_dense: float  # nats per token, measured
    predicted_nll: float
    perplexity: float
    bytes_per_token: float  # of everything the cache stores after one window, in the model's dtype
    bytes_per_token_float32: float
    bytes_per_token_bfloat16: float
    share_of_dense: float  # of the bytes that the ordinary cache stores for the same window
    rebuild_ms: dict[int, float]  # context → milliseconds that keys and values of one more token take to rebuild
    parameters: int  # of the whole model


@dataclass(frozen=True)
class KVBench:
    """The rows, and the dense model beside them."""

    model: str
    dtype: str
    device: str
    dense: dict[str, Measurement]
    dense_bytes_per_token: float
    step_ms: dict[int, float]  # context → milliseconds that one more token of the dense model takes
    rows: tuple[KVRow, ...]


@job
def kv(
    recipe: Recipe,
    texts: Sequence[str],
    ratios: Sequence[float],
    methods: Sequence[str],
    allocators: Sequence[str],
    test_windows: int,
    contexts: Sequence[int] = CONTEXTS,
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
    heads: Sequence[int | None] = (None,),
) -> Job[KVBench]:
    """The KVBench of every method × allocator × heads per basis × KV ratio, of the recipe's model and calibration text.

    `ratios` above 0. Losses are stored and not measured twice; bytes and times are measured anew.
    """
    loaded = loaded or load_model(recipe.model, device, dtype)
    bench = open_workbench(recipe, store, loaded=loaded)
    read = [read_text(name) for name in texts]
    dense = {}
    for text in read:
        dense[text.name] = yield from evaluate.steps(bench, text, windows=test_windows)
    whole = bytes_per_token(bench, loaded.model, read[0])
    steps = {c: step_ms(loaded.model, c) for c in contexts if c < loaded.folder.context}
    rows: list[KVRow] = []
    of = [(m, a, h, r) for m in methods for h in heads for a in allocators for r in ratios]
    for i, (method, allocator, shared, ratio) in enumerate(of):
        asked = {"ratio": 0.0, "kv_ratio": ratio, "kv_method": method, "kv_allocator": allocator, "kv_heads": shared}
        one = recipe.model_copy(update=asked)
        curves = yield from calibrate_latents.steps(bench, method, shared)
        plan, weights = curves.plan(ratio, allocator), Plan({})
        model = yield from compress.steps(bench, one, weights)
        stored = [bytes_per_token(bench, model, read[0], t) for t in (None, torch.float32, torch.bfloat16)]
        price = {c: rebuild_ms(model, c) for c in contexts}
        before, after = plan.weights(curves.units)
        for text in read:
            found = yield from evaluate.steps(bench, text, model, one, weights, test_windows)
            rows.append(
                KVRow(
                    method,
                    allocator,
                    shared,
                    ratio,
                    plan.ratio(curves.units),
                    text.name,
                    found.nll - dense[text.name].nll,
                    curves.predicted(plan),
                    found.perplexity,
                    *stored,
                    stored[0] / whole,
                    price,
                    loaded.parameters - before + after,
                )
            )
        yield Progress("kv", i + 1, len(of), f"{method}, {allocator}, ratio {ratio:g}")
    return KVBench(loaded.name, loaded.dtype, loaded.device.type, dense, whole, steps, tuple(rows))


@torch.inference_mode()
def bytes_per_token(bench: Workbench, model: nn.Module, text: Text, dtype: torch.dtype | None = None) -> float:
    """Bytes that the cache stores of one window of a text, per token; `dtype`: as if it were in this one."""
    loaded = bench.loaded
    ids = cut_windows(loaded.tokenizer, text, 1, bench.source.window, bos=loaded.bos)
    decoder = Decoder(model, ids.shape[1])
    decoder.run(ids)
    return stored_bytes(decoder.cache, dtype) / ids.shape[1]


def step_ms(model: nn.Module, context: int, repeats: int = REPEATS) -> float:
    """Milliseconds of one decoded token at a context, the median of some."""
    decoder, taken = Decoder(model, context + 1), []
    decoder.pretend(1, context)
    token = torch.zeros(1, 1, dtype=torch.long)
    for _ in range(repeats + 1):
        wait_for(decoder.device)
        began = time.perf_counter()
        decoder.run(token)
        wait_for(decoder.device)
        taken.append(1e3 * (time.perf_counter() - began))
        decoder.rewind(context)
    return statistics.median(taken[1:])


def markdown(found: KVBench) -> str:
    """The tables of a run: loss by method and ratio for each text, and what is stored and what it costs to rebuild."""
    ratios = tuple(dict.fromkeys(r.kv_ratio_asked for r in found.rows))
    parts = []
    for text, dense in found.dense.items():
        of = dense.setting
        parts.append(
            f"Nats per token above dense on {of.text} ({of.windows} × {of.window} tokens); dense, it has perplexity "
            f"{dense.perplexity:.3f}. Model {Path(found.model).name} in {found.dtype} on {found.device}, weights dense "
            "but for the keys' and values' own layers. KV ratio: the share of each token's keys and values that is not "
            "stored."
        )
        header = ("method", "allocator", "heads per basis", *(f"KV ratio {r:g}" for r in ratios))
        parts.append(_table([header, *([*k, *(f"{r.nll_above_dense:.4f}" for r in of)] for k, of in _by(found, text))]))
    first = next(iter(found.dense))
    name = found.rows[0].method, found.rows[0].allocator
    steps = ", ".join(f"{ms:.2f} ms at {c}" for c, ms in found.step_ms.items())
    parts.append(
        f"What a cache stores per token, in bytes summed over its tensors after one window, by {' and '.join(name)} "
        f"(the ordinary cache stores {found.dense_bytes_per_token:,.1f} in {found.dtype}); and what rebuilding adds to "
        f"each decoded token, for all blocks, by context. A whole step of the dense model: {steps}."
    )
    contexts = tuple(found.rows[0].rebuild_ms)
    lines = [("heads per basis", "KV ratio", "float32", "bfloat16", "of dense", *(f"rebuild at {c}" for c in contexts))]
    for r in (r for r in found.rows if (r.text, r.method, r.allocator) == (first, *name)):
        stored = (f"{r.bytes_per_token_float32:,.1f}", f"{r.bytes_per_token_bfloat16:,.1f}", f"{r.share_of_dense:.4f}")
        asked = (told(r.heads), f"{r.kv_ratio_asked:g}")
        lines.append((*asked, *stored, *(f"{ms:.2f} ms" for ms in r.rebuild_ms.values())))
    parts.append(_table(lines))
    return "\n\n".join(parts)


def told(heads: int | None) -> str:
    """Heads per basis, in words."""
    return "all" if heads is None else str(heads)


def _by(found: KVBench, text: str) -> list[tuple[tuple[str, str, str], list[KVRow]]]:
    rows: dict[tuple[str, str, str], list[KVRow]] = {}
    for r in found.rows:
        if r.text == text:
            rows.setdefault((r.method, r.allocator, told(r.heads)), []).append(r)
    return list(rows.items())


def _table(lines: Sequence[Sequence[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
