"""The dense and the compressed model side by side: sizes, speeds, perplexities, and why a line got worse."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..calibration.texts import Text
from ..calibration.windows import cut_windows
from ..evaluation.perplexity import perplexity
from ..evaluation.speed import Speed, in_turns, speed
from ..generation.decoder import Decoder
from ..generation.ready import beside
from ..jobs import Job, Progress, job
from ..kv.cache import stored_bytes
from ..kv.price import CONTEXTS, rebuild_ms
from ..kv.serving import makes_latents
from ..models.footprint import bytes_read
from ..models.layout import stored_tensors
from ..settings import EVALUATION_WINDOWS
from ..store import Store
from ..types import Measurement, Plan
from .build import Workbench
from .compress import evaluate
from .planning import latent_weights, removed
from .recipe import Recipe

PROMPT = 128  # tokens before the first one that is decoded
BATCHES = (1, 8)
REPEATS = 5
NOISE = 0.03  # a speed or a peak that differs by less is the same


@dataclass(frozen=True)
class Line:
    """One figure of both models; `better`: "less" or "more"."""

    name: str
    unit: str  # "", "bytes", "tokens/s", "ms", "nats", "share"
    dense: float | None  # None where there is no dense model to measure
    compressed: float
    better: str
    setting: str  # how it came about
    why: str  # the reason, should it be worse
    noise: float = 0.0  # relative differences up to this are none

    @property
    def change(self) -> float | None:
        """Relative change, None where the dense figure is 0, or there is none."""
        return self.compressed / self.dense - 1 if self.dense else None

    @property
    def worse(self) -> bool:
        """Whether the compressed figure is worse by more than noise."""
        if self.dense is None:
            return False
        loss = self.compressed - self.dense if self.better == "less" else self.dense - self.compressed
        return loss > self.noise * abs(self.dense)


@dataclass(frozen=True)
class Comparison:
    """All lines of one plan, and how its model was made."""

    model: str
    recipe: dict[str, Any]
    ratio: float  # achieved: share of the layers' parameters removed
    lines: tuple[Line, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with what is derived."""
        lines = [{**asdict(line), "change": line.change, "worse": line.worse} for line in self.lines]
        return {**asdict(self), "lines": lines}


@job
def compare(
    bench: Workbench,
    recipe: Recipe,
    plan: Plan,
    model: nn.Module,
    units: tuple,
    texts: Iterable[Text],
    windows: int = EVALUATION_WINDOWS,
) -> Job[Comparison]:
    """The Comparison of the dense model with `model`, made by a recipe's plan, in one run; the models take turns.

    Perplexities and divergences come from the store where it has them; speeds are measured anew each time.
    """
    dense, lines = bench.loaded.model, []
    where = f"{bench.loaded.dtype} on {bench.loaded.device.type}"
    lines += sizes(dense, model, where)
    lines += yield from speeds(dense, model, bench.store)
    lines += yield from prices(model, where)
    for text in texts:
        before = yield from evaluate.steps(bench, text, windows=windows)
        after = yield from evaluate.steps(bench, text, model, recipe, plan, windows, diverging=True)
        lines += quality(before, after)
    curves = bench.study.kv_curves(recipe.kv_method, recipe.kv_heads) if recipe.kv_ratio else None
    latents = curves and curves.plan(recipe.kv_ratio, recipe.kv_allocator)
    weights = latent_weights(bench.body.sites, units, curves, latents)
    return Comparison(bench.loaded.name, recipe.model_dump(mode="json"), removed(plan, units, weights), tuple(lines))


@job
def compare_saved(
    saved: Workbench, dense: Workbench | None, ratio: float, texts: Iterable[Text], windows: int = EVALUATION_WINDOWS
) -> Job[Comparison]:
    """The Comparison of the dense model with one that was saved compressed; with no dense one, its own figures alone.

    `ratio`: the share of the layers' parameters that it lacks. Divergences are measured anew each time.
    """
    loaded, base = saved.loaded, dense and dense.loaded.model
    where = f"{loaded.dtype} on {loaded.device.type}"
    if dense is not None and dense.loaded.dtype != loaded.dtype:
        where += f", the dense model {dense.loaded.dtype}"
    lines = sizes(base, loaded.model, where)
    if base is not None:
        lines += yield from speeds(base, loaded.model, saved.store)
    for text in texts:
        after = yield from evaluate.steps(saved, text, windows=windows)
        if dense is None:
            lines.append(Line(f"perplexity, {after.setting.text}", "", None, after.perplexity, "less",
                              str(after.setting), ""))  # fmt: skip
            continue
        before = yield from evaluate.steps(dense, text, windows=windows)
        ids = cut_windows(loaded.tokenizer, text, windows, saved.source.window, bos=loaded.bos)
        apart = yield from perplexity.steps(loaded.model, ids, after.setting, base)
        lines += quality(before, apart)
    recipe = (loaded.folder.compressed or {}).get("recipe") or {}
    return Comparison(loaded.name, dict(recipe), ratio, tuple(lines))


def sizes(dense: nn.Module | None, model: nn.Module, where: str) -> list[Line]:
    """Parameters, bytes of the weights as they are saved, and of the keys and values of a token."""
    why = "Ranks beyond the break-even: two factors are then more than one weight."
    counted = "counted from the tensors, tied ones once"

    def both(figure: Callable[[nn.Module], float]) -> tuple[float | None, float]:
        return None if dense is None else figure(dense), figure(model)

    parameters = both(lambda m: sum(t.numel() for t in stored_tensors(m)))
    weights = both(lambda m: sum(t.nbytes for t in stored_tensors(m)))
    return [
        Line("parameters", "", *parameters, "less", counted, why),
        Line("weights in the file", "bytes", *weights, "less", counted, why),
        *(
            Line(
                f"keys and values per token, {name}",
                "bytes",
                *both(lambda m, dtype=dtype: kv_bytes(m, dtype)),
                "less",
                f"summed over the tensors of a cache that was filled {where}, each in {name}",
                "",
            )
            for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
        ),
    ]


def kv_bytes(model: nn.Module, dtype: torch.dtype | None = None, tokens: int = 16) -> float:
    """Bytes of keys and values that a token adds to the cache; `dtype`: as if they were in this one."""
    decoder = Decoder(model, tokens)
    decoder.pretend(1, tokens)
    return stored_bytes(decoder.cache, dtype) / tokens


def prices(model: nn.Module, where: str) -> Job[list[Line]]:
    """What rebuilding keys and values from latents adds to each decoded token, by context; [] without latents."""
    how = f"all blocks, batch 1, latents of noise, median of rounds, {where}"
    why = "A latent cache makes keys and values of the whole context anew for every token."
    lines = []
    for i, c in enumerate(CONTEXTS if makes_latents(model) else ()):
        yield Progress("speed", i, len(CONTEXTS), f"keys and values of {c} tokens")
        name, took = f"rebuilding keys and values at {c} tokens", rebuild_ms(model, c)
        lines.append(Line(name, "ms", 0.0, took, "less", how, why))
    return lines


def speeds(dense: nn.Module, model: nn.Module, store: Store | None = None) -> Job[list[Line]]:
    """Weights on the device, peak memory, prefill and decode at every batch, in the forms that are fastest there."""
    models = {"dense": dense, "compressed": model}
    stored = {name: bytes_read(m) for name, m in models.items()}
    for name, plain in models.items():
        models[name] = yield from beside.steps(plain, store)
    reach = getattr(dense.config, "max_position_embeddings", None) or 4 * PROMPT
    prompt = min(PROMPT, reach // 2)
    rows = yield from speed.steps(models, BATCHES, (prompt,), REPEATS, prefill_most=0, stored=stored)
    lines = [_held(rows)]
    for batch in BATCHES:
        one, two = (r for r in rows if r.batch == batch)
        how = f"batch {batch}, {prompt} tokens before, median of {one.repeats} rounds in turns, {one.dtype} on "
        how += f"{one.device}, {one.threads} threads"
        lines.append(
            Line(
                f"peak memory, batch {batch}", "bytes", one.peak_bytes, two.peak_bytes, "less", how,
                "What is between two factors is stored, too, and more than the weights save.", NOISE,
            )
        )  # fmt: skip
        slower = (
            f"Two small products take more calls than one, and this device is not held up by reading weights here: "
            f"the bytes alone would allow {two.limit:.2f} ×."
        )
        ahead = in_turns(_prefills(models, batch, prompt), REPEATS)
        yield Progress("speed", batch, max(BATCHES), f"prefill, batch {batch}")
        first, second = (batch * prompt / sorted(ahead[name])[REPEATS // 2] for name in models)
        lines.append(Line(f"prefill, batch {batch}", "tokens/s", first, second, "more", how, slower, NOISE))
        lines.append(
            Line(f"decode, batch {batch}", "tokens/s", one.decode.median, two.decode.median, "more", how, slower, NOISE)
        )
    return lines


def _held(rows: list[Speed]) -> Line:
    one, two = rows[0], rows[1]
    why = "Weights are multiplied out again where that is faster here, or have ranks beyond the break-even."
    how = f"weights and buffers, {one.dtype} on {one.device}"
    return Line("weights on the device", "bytes", one.held_bytes, two.held_bytes, "less", how, why)


def _prefills(models: dict[str, nn.Module], batch: int, prompt: int) -> dict[str, Any]:
    def call(decoder: Decoder):
        ids = torch.zeros(batch, prompt, dtype=torch.long)

        def run() -> None:
            decoder.rewind(0)
            decoder.run(ids).argmax(-1).tolist()  # waits for the device

        return run

    return {name: call(Decoder(model, prompt)) for name, model in models.items()}


def quality(before: Measurement, after: Measurement) -> list[Line]:
    """Perplexity, divergence and top-1 agreement on one text."""
    name, how = before.setting.text, str(before.setting)
    lost = f"What was cut is missed: {after.nll - before.nll:+.4f} nats per token."
    apart = after.divergence
    return [
        Line(f"perplexity, {name}", "", before.perplexity, after.perplexity, "less", how, lost),
        Line(f"KL from dense, {name}", "nats", 0.0, apart.kl, "less", how, "0 would be the dense model itself."),
        Line(
            f"same likeliest token, {name}", "share", 1.0, apart.agreement, "more", how,
            "100 % would be the dense model itself.",
        ),
    ]  # fmt: skip
