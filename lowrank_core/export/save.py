"""Write a compressed model as an ordinary transformers folder, completely or not at all."""

import json
import math
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import BadValue
from ..models.dense import sizes as linear_sizes
from ..models.latent_layout import latent_entries
from ..models.layout import (
    FACTORED,
    PIVOTED,
    Layout,
    added_biases,
    check_sites,
    layout_of,
    low_rank,
    stored_tensors,
)
from ..models.quantizer import LowRankConfig, merged_linears, refuse_offloaded
from ..models.surgery import put, share_copy
from ..modules import FactoredLinear, JointLinear, LatentLinear, LatentRest, PivotedLinear
from .card import Sizes
from .record import CARD, RECORD, Record, licence_files, licence_of

MERGED = "merged"
STORAGES = (FACTORED, PIVOTED, MERGED)
Own = Callable[[Tensor], Tensor]
OF_THE_LOADER = ("hf_quantizer", "hf_device_map", "quantization_method", "is_quantized")  # set by from_pretrained


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path | str,
         ranks: Mapping[str, int | None], recipe: Mapping[str, Any], base: str, storage: str = FACTORED,
         measurements: Sequence[Mapping[str, Any]] = (), max_shard_size: int | str = "1GB",
         base_folder: Path | None = None) -> int:
    """The number of bytes written to `folder`, which `from_pretrained` then loads; the model is left as it is.

    `ranks`: path → rank of every site, None where it is dense; the model's compressed layers are in place.
    `storage`: "merged" multiplies them out into an ordinary dense checkpoint, which saves no bytes; else each is
    written as it stands in the model (loads after `import lowrank_core`), and the folder says how: to ask for "pivoted"
    where the layers are two factors is a BadValue. `measurements`: what was measured, each with its setting.
    `base_folder`: where the dense model lies, whose licence is handed on.
    A folder that this function wrote is replaced; BadValue for any other that is not empty.
    """
    if storage not in STORAGES:
        raise BadValue(f"There is no storage {storage!r}.", f"Choose one of {', '.join(STORAGES)}.")
    target = Path(folder).expanduser().resolve()
    _check_target(target)
    layout, latents = layout_of(model), latent_entries(model)
    _check_ranks(model, ranks, layout)
    storage = _check_storage(storage, layout, bool(latents))
    refuse_offloaded([model])
    recipe, measurements = _as_json(recipe, "recipe"), _as_json(list(measurements), "measurements")
    ready = _merged_copy(model) if storage == MERGED else _compressed_copy(model, layout, recipe)
    biased = (*layout.biased, *added_biases(model, [path for path, of in latents.items() if of["bias"]]))
    sizes = _sizes(model, ranks, storage, biased)
    notes = {} if storage == MERGED else layout.notes
    try:
        with _replacing(target) as staging:
            ready.save_pretrained(staging, max_shard_size=max_shard_size)
            tokenizer.save_pretrained(staging)
            for file in licence_files(base_folder) if base_folder else ():
                shutil.copyfile(file, staging / file.name)
            known = Record(storage, base, dict(ranks), recipe, sizes, (*_files(staging), CARD, RECORD), measurements,
                           licence_of(base_folder) if base_folder else None, notes)
            (staging / CARD).write_text(known.card(target.name), "utf-8")
            (staging / RECORD).write_text(known.to_json(), "utf-8")
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


def _check_ranks(model: nn.Module, ranks: Mapping[str, int | None], layout: Layout) -> None:
    """Nothing; BadValue where the ranks are not those of the model, or cannot be saved."""
    asked = {path: rank for path, rank in ranks.items() if rank is not None}
    wrong = next((p for p in {**asked, **layout.ranks} if asked.get(p) != layout.ranks.get(p)), None)
    if wrong is not None:
        raise BadValue(
            f"The plan gives {wrong} the rank {asked.get(wrong)}, the model {layout.ranks.get(wrong)}.",
            "Save a model with the plan it was compressed by.",
        )
    check_sites(model, layout, {path: path for path in layout.ranks}, BadValue)
    modules = low_rank(model).values()
    if modules and all(m.weight.shape == (m.out_features, m.in_features) for m in modules):
        # then no stored shape differs from the dense one, and a process without this library would load nonsense
        raise BadValue("All factors are of full rank, no smaller than the weights.", "Choose a smaller rank somewhere.")


def _check_storage(asked: str, layout: Layout, latents: bool) -> str:
    """What the folder's storage is called; BadValue where the model's layers cannot be stored as asked."""
    if asked == MERGED:
        if latents:
            raise BadValue("A merged model keeps no latents.", 'Save with storage "factored" or "pivoted".')
        if layout.biased:  # transformers reports an unexpected key and drops it
            raise BadValue(
                f"{layout.biased[0]} has a bias that the model's class has no place for: merged, it would be lost.",
                'Save with storage "factored" or "pivoted", or compress without centring.',
            )
        return MERGED
    alone = set(layout.ranks) - {*layout.shared.keys(), *layout.shared.values()}
    if asked == PIVOTED and layout.storage == FACTORED and alone:
        raise BadValue("The model's layers are two factors, not pivoted.", "Compress it with pivoted storage.")
    return layout.storage


def _compressed_copy(model: PreTrainedModel, layout: Layout, recipe: dict) -> PreTrainedModel:
    """A model that shares what is dense and owns what is compressed, with the configuration that loads it."""
    ours, own = _bare_copy(model), _owning()
    for path in layout.order:
        source = ours.get_submodule(layout.shared[path]) if path in layout.shared else None
        put(ours, path, _owned_module(model.get_submodule(path), source, own))
    latents = latent_entries(ours)
    for path, entry in latents.items():
        source = _owned_latents(model.get_submodule(path), own)
        put(ours, path, source)
        if entry["rest"]:
            put(ours, entry["rest"], LatentRest(source))
    if layout.ranks or latents:
        ours.config.quantization_config = LowRankConfig(
            layout.ranks, layout.storage, recipe, **layout.exceptions, latents=latents
        ).to_dict()
    return ours


def _merged_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A dense model that shares what was dense before."""
    ours = _bare_copy(model)
    for path, linear in merged_linears(ours).items():
        put(ours, path, linear)
    return ours


def _bare_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that shares all tensors, without what the loader left on the model and its configuration."""
    ours = share_copy(model)
    for name in OF_THE_LOADER:
        vars(ours).pop(name, None)
    if hasattr(ours.config, "quantization_config"):
        del ours.config.quantization_config
    return ours


def _owned_module(module: nn.Module, source: FactoredLinear | None, own: Own) -> nn.Module:
    """The same layer with tensors of its own; `source` is the owned layer whose right factor it uses."""
    bias = None if module.bias is None else own(module.bias)
    if isinstance(module, JointLinear):
        return JointLinear(own(module.weight), source, bias)
    if isinstance(module, PivotedLinear):
        return PivotedLinear(own(module.weight), own(module.weight_u), own(module.pivots), bias)
    return FactoredLinear(own(module.weight_u), own(module.weight), bias)


def _owned_latents(module: LatentLinear, own: Own) -> LatentLinear:
    """The same layer with tensors of its own."""
    parts = [own(t) for t in (module.weight[0], module.weight_u, module.pivots)]
    bias, groups = None if module.bias is None else own(module.bias), module.groups if len(module.groups) > 1 else ()
    return LatentLinear(*parts, bias, module.lead, module.shown, groups)


def _owning() -> Own:
    """What gives a tensor's values alone: a slice of a bigger store would bring the store, or its neighbours, into the
    shard. What is whole, on the CPU and in no other layer is not copied: a large model's factors would be there twice.
    """
    taken: set[int] = set()

    def own(tensor: Tensor) -> Tensor:
        values = tensor.detach()
        whole = values.is_contiguous() and values.untyped_storage().nbytes() == values.nbytes
        if whole and values.device.type == "cpu" and values.data_ptr() not in taken:
            taken.add(values.data_ptr())
            return values
        return values.to("cpu", copy=True, memory_format=torch.contiguous_format)

    return own


def _sizes(model: nn.Module, ranks: Mapping[str, int | None], storage: str, biased: Collection[str]) -> Sizes:
    """Whole-model sizes, counted from the tensors; tied and shared ones count once, a byte of pivots as one."""
    now, now_bytes = sum(t.numel() for t in stored_tensors(model)), sum(t.nbytes for t in stored_tensors(model))
    removed = removed_bytes = dense = 0
    for path, rank in ranks.items():
        module = model.get_submodule(path)
        entries = math.prod(linear_sizes(module))
        dense += entries
        if rank is not None or isinstance(module, LatentLinear | LatentRest):
            kept = [t for name, t in module.state_dict().items() if name != "bias" or path in biased]
            removed += entries - sum(t.numel() for t in kept)
            removed_bytes += entries * model.dtype.itemsize - sum(t.nbytes for t in kept)
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
