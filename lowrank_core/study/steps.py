"""The story's single steps under their public names, for those who want to stop in between.

bench = lr.calibrate("demo")                     # a Workbench: model, text, statistics
spectra = lr.factorize(bench, "asvd-i")          # path → Spectrum
points = lr.sensitivity(bench, "asvd-i")         # path → keep → Point
plan = lr.allocate(bench, spectra, ratio=0.3, points=points, allocator="strs")
model = lr.compress(bench, lr.Recipe(ratio=0.3), plan)
lr.perplexity(model, bench.loaded.tokenizer, "demo-test")
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from ..calibration.texts import read_text
from ..calibration.windows import cut_windows
from ..evaluation.perplexity import perplexity as measure_perplexity
from ..export.save import save as save_folder
from ..generation.stream import Sampling, prompt_ids, stream
from ..jobs import Job, job
from ..models.families import family_of
from ..settings import CALIBRATION_WINDOWS, CANDIDATES, EVALUATION_WINDOWS, PROBE_WINDOWS, SEED
from ..types import Measurement, Plan, Point, Setting, Spectrum
from .build import Workbench
from .compress import Compressed, open_workbench
from .knowledge import Knowledge
from .planning import make_plan
from .recipe import Recipe
from .units import units_of


@job
def calibrate(
    model: str = "demo",
    text: str = "demo",
    windows: int = CALIBRATION_WINDOWS,
    window: int | None = None,
    probe_windows: int = PROBE_WINDOWS,
    seed: int = SEED,
    device: str | None = None,
    dtype: str | None = None,
) -> Job[Workbench]:
    """A Workbench whose statistics are in the store; `windows` of `window` tokens are read from the text."""
    recipe = Recipe(model=model, text=text, windows=windows, window=window, probe_windows=probe_windows, seed=seed)
    bench = yield from open_workbench.steps(recipe, device=device, dtype=dtype)
    yield from bench.calibrate()
    return bench


@job
def factorize(bench: Workbench, method: str, **parameters: float) -> Job[dict[str, Spectrum]]:
    """Unit path → Spectrum under a method: the error of every rank, from one factorization each."""
    recipe = Recipe(method=method, parameters=parameters)
    return (yield from bench.spectra(units_of(bench.loaded.anatomy.sites, recipe)))


@job
def sensitivity(
    bench: Workbench, method: str, keeps: Iterable[float] = CANDIDATES, **parameters: float
) -> Job[dict[str, dict[float, Point]]]:
    """Unit path → keep → Point: what each costs alone, in nats per token above dense on the probe windows."""
    units = units_of(bench.loaded.anatomy.sites, Recipe(method=method, parameters=parameters))
    wanted = [(unit, keep) for unit in units for keep in keeps]
    table: dict[str, dict[float, Point]] = {}
    for point in (yield from bench.measure(wanted)):
        table.setdefault(point.path, {})[point.keep] = point
    return table


def allocate(
    bench: Workbench,
    spectra: Mapping[str, Spectrum],
    ratio: float,
    allocator: str = "waterfill",
    points: Mapping[str, Mapping[float, Point]] | None = None,
) -> Plan:
    """The Plan that removes at least `ratio` of the sites' parameters."""
    method = next(iter(spectra.values())).method
    recipe = Recipe(model=bench.loaded.name, method=method, ratio=ratio, allocator=allocator)
    return make_plan(recipe, Knowledge.of(units_of(bench.loaded.anatomy.sites, recipe), spectra, points))


@job
def perplexity(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    windows: int = EVALUATION_WINDOWS,
    window: int = 256,
) -> Job[Measurement]:
    """The Measurement of any causal language model on a named text or a UTF-8 file."""
    family = family_of(model.config.model_type)
    bos = tokenizer.bos_token_id if family and family.bos else None
    ids = cut_windows(tokenizer, read_text(text), windows, window, bos=bos)
    weight = next(model.parameters())
    dtype = str(weight.dtype).removeprefix("torch.")
    setting = Setting(text, len(ids), window, dtype, weight.device.type, bos=bos is not None)
    return (yield from measure_perplexity.steps(model, ids, setting))


def generate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    max_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = SEED,
) -> str:
    """The model's reply to a prompt, through its chat template where it has one."""
    ids = prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
    last = None
    for reply in stream(model, tokenizer, ids, Sampling(max_tokens, temperature, seed)):
        last = reply
    return last.text


def save(
    compressed: Compressed, folder: Path | str, storage: str = "factored", measurements: tuple[dict, ...] = ()
) -> int:
    """Write a compressed model as a transformers folder; the number of bytes written."""
    recipe = compressed.recipe.model_dump(mode="json", exclude_defaults=False)
    return save_folder(
        compressed.loaded.model,
        compressed.loaded.tokenizer,
        Path(folder),
        compressed.ranks,
        recipe,
        compressed.loaded.name,
        storage,
        list(measurements),
        base_folder=compressed.loaded.folder.path,
    )
