"""What transformers runs when it loads one of our folders: linears become empty factors before the weights arrive.

This file is imported while `transformers.quantizers` is still being imported: only its submodules may be named here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from ..errors import BadValue, ModelCorrupt, ModelUnsupported
from ..modules import JointLinear, PivotedLinear
from .dense import bare, dense_like, sizes
from .latent_layout import check_latents, empty_latents, merged_latents, read_entries
from .layout import AGAIN, FACTORED, PIVOTED, Layout, check_sites, low_rank, read_layout
from .register import AFTER_LOADING, METHOD
from .surgery import put


class LowRankConfig(QuantizationConfigMixin):
    """The `quantization_config` of a compressed folder.

    `ranks`: path → rank of the compressed sites (a site that is not named is dense); `storage`: "factored" or
    "pivoted", how they lie in the checkpoint where nothing else is said; `recipe`: what was asked for, recorded as it
    was. Only where there are any: `factored`, sites that are two factors though the storage is pivoted; `shared`,
    path → path of the site whose right factor it uses; `biased`, sites with a bias that the dense layer lacks;
    `latents`, path → the layers that make latents of keys and values (models/latents.py).
    """

    def __init__(
        self,
        ranks: Mapping[str, int] | None = None,
        storage: str = FACTORED,
        recipe: Mapping[str, Any] | None = None,
        factored: Iterable[str] | None = None,
        shared: Mapping[str, str] | None = None,
        biased: Iterable[str] | None = None,
        latents: Mapping[str, Any] | None = None,
        **_unknown,
    ):
        if storage not in (FACTORED, PIVOTED):
            raise ModelUnsupported(
                f"The model's factors are stored as {storage!r}.",
                f"This version reads {FACTORED!r} and {PIVOTED!r}: update lowrank_core.",
            )
        self.quant_method = METHOD
        self.layout = read_layout(ranks, storage, factored, shared, biased)
        self.recipe = dict(recipe or {})
        self.latents = read_entries(latents)

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        layout = self.layout
        return {
            "quant_method": self.quant_method,
            "ranks": dict(layout.ranks),
            "storage": layout.storage,
            **layout.exceptions,
            **({"latents": self.latents} if self.latents else {}),
            "recipe": dict(self.recipe),
        }

    @property
    def ranks(self) -> dict[str, int]:
        return dict(self.layout.ranks)

    @property
    def storage(self) -> str:
        return self.layout.storage


class LowRankQuantizer(HfQuantizer):
    """Puts empty compressed layers where the configuration names a rank, and dense linears back on `dequantize`.

    *Limits*: a bias that compression added stays on the dense linear, but the model's class has no place for it: a
    folder saved after `dequantize` would lose it on loading (`export.save` refuses that).
    """

    requires_calibration = True  # transformers then refuses to "quantize" a dense model on the fly

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False

    @property
    def is_compileable(self) -> bool:
        return True

    def _process_model_before_weight_loading(
        self, model: nn.Module, checkpoint_files: Iterable[str] | None = None, **kwargs
    ) -> nn.Module:
        """The skeleton with empty layers in place. Raises ModelCorrupt where ranks, model and checkpoint disagree."""
        layout = self.quantization_config.layout
        names = {path: _path_in(model, path) for path in layout.ranks}
        check_sites(model, layout, names, ModelCorrupt)
        _check_stored(model, layout, names, _stored_shapes(checkpoint_files or ()))
        for path in layout.order:
            linear, kind = model.get_submodule(names[path]), layout.kind(path)
            make = {"device": linear.weight.device, "dtype": linear.weight.dtype}
            bias = linear.bias is not None or path in layout.biased
            if kind is JointLinear:
                source = model.get_submodule(names[layout.shared[path]])
                empty = kind.empty(sizes(linear)[0], source, bias, **make)
            else:
                d_out, d_in = sizes(linear)
                empty = kind.empty(d_in, d_out, layout.ranks[path], bias, **make)
            put(model, names[path], empty)
        shapes = _stored_shapes(checkpoint_files or ())
        for path, empty in empty_latents(model, self.quantization_config.latents, shapes, _path_in).items():
            put(model, path, empty)
        return model

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs):
        for path, module in low_rank(model).items():
            module.requires_grad_(False)  # the loader makes every float parameter trainable
            if isinstance(module, PivotedLinear) and not module.pivots.is_meta and not module.sound():
                raise ModelCorrupt(f"The pivots of {path} are not {module.rank} of its rows.", AGAIN)
        check_latents(model)
        for prepare in AFTER_LOADING.values():
            prepare(model)
        return model

    def _dequantize(self, model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
        """The model with every compressed layer multiplied out into the linear of the model's class."""
        found = low_rank(model)
        refuse_offloaded(found.values())
        for path, linear in {**merged_linears(model), **merged_latents(model)}.items():
            put(model, path, linear)
        # the caller passes the configuration's dtype when its user named none: that one must not undo a model.to(…)
        if dtype not in (None, model.config.dtype):
            for p in model.parameters():  # not model.to(dtype): it would round the rotary frequencies, too
                p.data = p.data.to(dtype)
        return model


def merged_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Path → the dense layer of each compressed one, as the model's class has it, in its dtype, on its device."""
    found = low_rank(model)
    skeleton = bare(model) if found else None
    made = {}
    for path, module in found.items():
        bias = None if module.bias is None else module.bias.detach()
        made[path] = dense_like(type(skeleton.get_submodule(path)), module.merged(), bias).train(module.training)
    return made


def refuse_offloaded(modules: Iterable[nn.Module]) -> None:
    """Nothing; BadValue where weights were moved to disk or kept elsewhere by a device map."""
    if any(p.is_meta for m in modules for p in m.parameters()):
        raise BadValue("Some of the model's weights are offloaded.", "Load it without offloading, then try again.")


def _path_in(model: nn.Module, path: str) -> str:
    """The site's path in this model: `AutoModel` loads the part below `model.` under shorter names."""
    for name in (path, path.removeprefix(f"{model.base_model_prefix}.")):
        try:
            model.get_submodule(name)
        except AttributeError:
            continue
        return name
    raise ModelCorrupt(f"The model has no layer {path}, which its quantization_config names.", AGAIN)


def _stored_shapes(files: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Name → shape of every stored tensor, from the headers alone."""
    shapes = {}
    for file in files:
        if str(file).endswith(".safetensors"):
            with safe_open(file, framework="pt") as stored:
                shapes |= {key: tuple(stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118
    return shapes


def _check_stored(model: nn.Module, layout: Layout, names: Mapping[str, str], shapes: Mapping[str, tuple]) -> None:
    """Nothing; ModelCorrupt where a tensor is missing or has another shape: transformers would only warn and invent it.

    Families whose checkpoints use other names than their modules are passed over: nothing can be said of them here.
    """
    if not any(f"{path}.weight" in shapes for path in layout.ranks):
        return
    for path, rank in layout.ranks.items():
        linear = model.get_submodule(names[path])
        d_out, d_in = sizes(linear)
        wanted = layout.kind(path).shapes(d_in, d_out, rank)
        if linear.bias is not None or path in layout.biased:
            wanted["bias"] = (d_out,)
        for name, shape in wanted.items():
            key = f"{path}.{name}"
            if shapes.get(key) != shape:
                what = f"has shape {shapes[key]}" if key in shapes else "is missing"
                raise ModelCorrupt(f"The factor {key} {what}; the model needs {shape}.", AGAIN)
