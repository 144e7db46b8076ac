"""How fast dense and compressed models read and write, side by side, in one run: `bench decode`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from ..errors import OutOfMemory
from ..evaluation.speed import REPEATS, TOKENS, Speed, speed
from ..generation.ready import ready
from ..jobs import Job, job
from ..models.footprint import bytes_read
from ..models.loading import DTYPES, choose_device, load_model
from ..models.sites import anatomy
from ..models.surgery import put
from ..modules import FactoredLinear, PivotedLinear
from ..modules.pivoted import packed
from ..store import Store
from ..study.compress import run
from ..study.read import open_store
from ..study.recipe import Recipe
from ..types import Site, Unit, rank_at
from .speeds import is_random, shape


@dataclass(frozen=True)
class Race:
    """What is measured against the dense model, and how."""

    model: str
    ratios: tuple[float, ...]
    dtypes: tuple[str, ...] = ()  # none: as the model loads
    storage: str = "factored"
    batches: tuple[int, ...] = (1, 8)
    contexts: tuple[int, ...] = (128, 512, 2048)
    repeats: int = REPEATS
    tokens: int = TOKENS
    plain: bool = False  # leave the models as they load, instead of making them ready
    recipe: Mapping[str, Any] = field(default_factory=dict)  # how a real model is compressed, beside ratio and storage

    @property
    def shape(self) -> dict[str, int] | None:
        """The sizes of a random model; None for a real one. BadValue for a shape that is not there."""
        return shape(self.model) if is_random(self.model) else None


@dataclass(frozen=True)
class Lap:
    """A Speed, and which compressed model it was measured beside (or of which it is)."""

    ratio: float  # asked for; of the layers' parameters
    compressed: bool
    storage: str
    speed: Speed

    def record(self) -> dict[str, Any]:
        """As JSON carries it."""
        found = {k: v for k, v in asdict(self).items() if k != "speed"}
        return {**found, **asdict(self.speed), "limit_share": self.speed.limit_share}


@job
def decode(race: Race, device: str | None = None, store: Store | None = None) -> Job[list[Lap]]:
    """The Laps of a race: for every dtype and ratio, the dense and the compressed model in turns.

    Both are made ready in the same way. A model that is `random:SHAPE` has random weights and random factors of the
    ranks that a uniform ratio means: nothing but time can be learned from it.
    """
    store, laps = store or open_store(), []
    make = _Real(race, device, store) if race.shape is None else _Random(race, device)
    for dtype in race.dtypes or (None,):
        try:
            plain = make.dense(dtype)
            stored = {"dense": bytes_read(plain)}
            dense = yield from _made(race, plain, store, make.spare)
            for ratio in race.ratios:
                model = yield from make.compressed(ratio, dense)
                stored["compressed"] = bytes_read(model)
                pair = {"dense": dense, "compressed": (yield from _made(race, model, store, make.spare))}
                del model
                measured = yield from speed.steps(
                    pair, race.batches, race.contexts, race.repeats, race.tokens, stored=stored
                )
                laps += [Lap(ratio, s.model == "compressed", race.storage, s) for s in measured]
                del pair  # before the next one is made
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory("There is no room for both models.", "Give one ratio, or bfloat16.") from error
    return laps


def _made(race: Race, model: nn.Module, store: Store, spare: bool) -> Job[nn.Module]:
    """The model made ready, or as it is where that is asked for; `spare`: whether it is needed for anything else."""
    if race.plain:
        return model
    return (yield from ready.steps(model, store, keep=spare))


class _Real:
    """The models of a folder, compressed by a recipe."""

    spare = True

    def __init__(self, race: Race, device: str | None, store: Store):
        self.race, self.device, self.store = race, device, store
        self.loaded = None

    def dense(self, dtype: str | None) -> nn.Module:
        self.loaded = load_model(self.race.model, self.device, dtype)
        return self.loaded.model

    def compressed(self, ratio: float, dense: nn.Module) -> Job[nn.Module]:
        recipe = Recipe(model=self.race.model, ratio=ratio, storage=self.race.storage, **self.race.recipe)
        made = yield from run.steps(recipe, self.store, loaded=self.loaded)
        return made.loaded.model


class _Random:
    """Models of a shape without meaning."""

    spare = False

    def __init__(self, race: Race, device: str | None):
        self.race, self.device = race, choose_device(device)
        self.dtype = torch.float32

    def dense(self, dtype: str | None) -> nn.Module:
        self.dtype = DTYPES[dtype or "float32"]
        return random_llama(self.race.shape, self.dtype, self.device)

    def compressed(self, ratio: float, dense: nn.Module) -> Job[nn.Module]:
        model = random_llama(self.race.shape, self.dtype, self.device, empty=True)
        for site in anatomy(model).sites:
            put(model, site.path, random_module(site, ratio, self.race.storage, self.dtype, self.device))
        return model
        yield  # a job like its sibling, though it takes no steps


def random_llama(shape: Mapping[str, int], dtype: torch.dtype, device: torch.device, empty: bool = False) -> nn.Module:
    """A LLaMA of these sizes with random weights; `empty`: without those of the linears inside its blocks."""
    config = LlamaConfig(**shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
    sites = {s.path for s in anatomy(model).sites} if empty else set()
    for path, module in model.named_modules():
        if path not in sites:
            for name, p in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(noise(p.shape, dtype, device), requires_grad=False))
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=config).to(device)  # its buffers are computed, not stored
    return model


def random_module(site: Site, ratio: float, storage: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Factors of the rank that a site has at a ratio, in a storage, of noise."""
    rank = rank_at(Unit((site,), storage=storage), 1 - ratio)
    first = noise((rank, site.d_in), dtype, device)
    if storage == "factored":
        return FactoredLinear(noise((site.d_out, rank), dtype, device), first)
    pivots = torch.randperm(site.d_out, generator=torch.Generator().manual_seed(0))[:rank].to(device)
    return PivotedLinear(first, noise((site.d_out - rank, rank), dtype, device), packed(pivots, site.d_out))


def noise(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Small random numbers; a million different ones, over and over, are enough to be timed."""
    made = torch.empty(shape, dtype=dtype, device=device)
    some = torch.randn(min(made.numel(), 2**20), generator=torch.Generator().manual_seed(0)).mul_(0.02).to(made)
    flat = made.view(-1)
    for start in range(0, len(flat), len(some)):
        flat[start : start + len(some)] = some[: len(flat) - start]
    return made
