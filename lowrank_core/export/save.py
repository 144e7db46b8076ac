"""Write a compressed model as an ordinary transformers folder, completely or not at all."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import BadValue
from ..models.quantizer import FACTORED, LowRankConfig, check_site, merged_linear, refuse_offloaded
from ..models.surgery import put, share_copy
from ..modules import FactoredLinear
from .card import Sizes, card

MERGED = "merged"
STORAGES = (FACTORED, MERGED)
RECORD = "lowrank.json"  # marks a folder as ours and lists its files, so that it may be replaced
OF_THE_LOADER = ("hf_quantizer", "hf_device_map", "quantization_method", "is_quantized")  # set by from_pretrained


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path | str,
         ranks: Mapping[str, int | None], recipe: Mapping[str, Any], base: str, storage: str = FACTORED,
         measurements: Sequence[Mapping[str, Any]] = (), max_shard_size: int | str = "5GB") -> int:
    """The number of bytes written to `folder`, which `from_pretrained` then loads; the model is left as it is.

    `ranks`: path → rank of every site, None where it is dense; the model's FactoredLinear modules are in place.
    `storage`: "factored" keeps the factors (loads after `import lowrank_core`), "merged" multiplies them out into an
    ordinary dense checkpoint, which saves no bytes. `measurements`: what was measured, each with its setting.
    A folder that this function wrote is replaced; BadValue for any other that is not empty.
    """
    if storage not in STORAGES:
        raise BadValue(f"There is no storage {storage!r}.", f"Choose one of {', '.join(STORAGES)}.")
    target = Path(folder).expanduser().resolve()
    _check_target(target)
    factored = _check_ranks(model, ranks)
    refuse_offloaded([model])
    recipe, measurements = _as_json(recipe, "recipe"), _as_json(list(measurements), "measurements")
    ready = _merged_copy(model) if storage == MERGED else _factored_copy(model, factored, recipe)
    sizes = _sizes(model, ranks, storage)
    try:
        with _replacing(target) as staging:
            ready.save_pretrained(staging, max_shard_size=max_shard_size)
            tokenizer.save_pretrained(staging)
            text = card(target.name, base, ranks, recipe, sizes, storage, measurements)
            (staging / "README.md").write_text(text, "utf-8")
            record = {"storage": storage, "base": base, "ranks": dict(ranks), "recipe": recipe,
                      "measurements": measurements, "files": [*_files(staging), RECORD]}
            (staging / RECORD).write_text(json.dumps(record, indent=1), "utf-8")
            written = sum((staging / name).stat().st_size for name in _files(staging))
    except (OSError, SafetensorError) as error:
        raise BadValue(f"The folder {str(folder)!r} cannot be written: {error}.", "Choose another folder.") from error
    return written


def _check_target(target: Path) -> None:
    """Nothing; BadValue where a save would destroy files that are not ours."""
    if not target.exists():
        return
    if not target.is_dir():
        raise BadValue(f"{str(target)!r} is a file.", "Give a folder.")
    try:
        ours = set(json.loads((target / RECORD).read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    foreign = sorted(set(_files(target)) - ours)
    if foreign:
        raise BadValue(
            f"The folder {str(target)!r} holds {foreign[0]!r}, which this program did not write.",
            "Give a new or empty folder.",
        )


def _check_ranks(model: nn.Module, ranks: Mapping[str, int | None]) -> dict[str, int]:
    """Path → rank of the factored sites; BadValue where the ranks are not those of the model."""
    there = {path: m.rank for path, m in model.named_modules() if isinstance(m, FactoredLinear)}
    asked = {path: rank for path, rank in ranks.items() if rank is not None}
    wrong = next((p for p in {**asked, **there} if asked.get(p) != there.get(p)), None)
    if wrong is not None:
        raise BadValue(
            f"The plan gives {wrong} the rank {asked.get(wrong)}, the model {there.get(wrong)}.",
            "Save a model with the plan it was compressed by.",
        )
    for path, rank in asked.items():
        check_site(model, path, model.get_submodule(path), rank, BadValue)
    if asked and all(rank == model.get_submodule(path).out_features for path, rank in asked.items()):
        # then no stored shape differs from the dense one, and a process without this library would load nonsense
        raise BadValue("All factors are of full rank and larger than the weights.", "Choose a smaller rank somewhere.")
    return asked


def _factored_copy(model: PreTrainedModel, ranks: Mapping[str, int], recipe: dict) -> PreTrainedModel:
    """A model that shares what is dense and owns its factors, with the configuration that loads it."""
    ours = _bare_copy(model)
    for path in ranks:
        module = model.get_submodule(path)
        put(ours, path, FactoredLinear(_owned(module.weight_u), _owned(module.weight), module.bias))
    if ranks:
        ours.config.quantization_config = LowRankConfig(ranks, FACTORED, recipe).to_dict()
    return ours


def _merged_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A dense model that shares what was dense before."""
    ours = _bare_copy(model)
    for path, module in list(ours.named_modules()):
        if isinstance(module, FactoredLinear):
            put(ours, path, merged_linear(module))
    return ours


def _bare_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that shares all tensors, without what the loader left on the model and its configuration."""
    ours = share_copy(model)
    for name in OF_THE_LOADER:
        vars(ours).pop(name, None)
    if hasattr(ours.config, "quantization_config"):
        del ours.config.quantization_config
    return ours


def _owned(tensor: Tensor) -> Tensor:
    """The values alone: a slice of a bigger store would bring the store, or its neighbours, into the shard."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _sizes(model: nn.Module, ranks: Mapping[str, int | None], storage: str) -> Sizes:
    """Whole-model sizes, counted from the tensors; tied ones count once."""
    now = sum(p.numel() for p in model.parameters())
    now_bytes = sum(p.nbytes for p in model.parameters())
    removed = removed_bytes = dense = 0
    for path, rank in ranks.items():
        module = model.get_submodule(path)
        entries = module.in_features * module.out_features
        dense += entries
        if rank is not None:
            less = entries - rank * (module.in_features + module.out_features)
            removed, removed_bytes = removed + less, removed_bytes + less * module.weight.element_size()
    before, before_bytes = now + removed, now_bytes + removed_bytes
    if storage == MERGED:
        now, now_bytes = before, before_bytes
    return Sizes(before, now, before_bytes, now_bytes, removed / dense if dense else None)


def _as_json(value: Any, what: str) -> Any:
    """The value as JSON gives it back; BadValue where it cannot be written."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise BadValue(f"The {what} is no JSON: {error}.", "Use numbers, strings, lists and dicts.") from None


def _files(folder: Path) -> list[str]:
    """Relative names of all files and links below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new sibling folder that takes the target's place on leaving, or vanishes when something is raised."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    staging.mkdir()
    try:
        yield staging
        _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, target: Path) -> None:
    """Rename the staging folder to the target, putting the old one back where that fails."""
    if not target.exists():
        staging.rename(target)
        return
    old = staging.with_name(staging.name + ".old")
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
