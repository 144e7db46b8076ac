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

from ..errors import BadValue, LowRankError, ModelCorrupt, ModelUnsupported
from ..modules import FactoredLinear
from .register import METHOD
from .surgery import put

FACTORED = "factored"
AGAIN = "Save or download the compressed model again."


class LowRankConfig(QuantizationConfigMixin):
    """The `quantization_config` of a compressed folder.

    `ranks`: path → rank of the compressed sites (a site that is not named is dense); `storage`: how the factors lie
    in the checkpoint; `recipe`: what was asked for, recorded as it was.
    """

    def __init__(
        self,
        ranks: Mapping[str, int] | None = None,
        storage: str = FACTORED,
        recipe: Mapping[str, Any] | None = None,
        **_unknown,
    ):
        self.quant_method = METHOD
        self.ranks = _checked(ranks)
        self.storage = storage
        self.recipe = dict(recipe or {})
        if storage != FACTORED:
            raise ModelUnsupported(
                f"The model's factors are stored as {storage!r}.",
                f"This version reads {FACTORED!r}: update lowrank_core.",
            )


class LowRankQuantizer(HfQuantizer):
    """Puts FactoredLinear modules where the configuration names a rank, and dense linears back on `dequantize`."""

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
        """The skeleton with empty factors in place. Raises ModelCorrupt where ranks, model and checkpoint disagree."""
        ranks = self.quantization_config.ranks
        paths = {path: _path_in(model, path) for path in ranks}
        shapes = _stored_shapes(checkpoint_files or ())
        for path, rank in ranks.items():
            linear = model.get_submodule(paths[path])
            check_site(model, paths[path], linear, rank, ModelCorrupt)
            _check_stored(path, linear, rank, shapes, any(f"{p}.weight" in shapes for p in ranks))
        for path, rank in ranks.items():
            linear = model.get_submodule(paths[path])
            weight = linear.weight
            put(
                model,
                paths[path],
                FactoredLinear.empty(
                    linear.in_features, linear.out_features, rank, linear.bias is not None, weight.device, weight.dtype
                ),
            )
        return model

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs):
        for module in _factored(model).values():
            module.requires_grad_(False)  # the loader makes every float parameter trainable
        return model

    def _dequantize(self, model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
        """The model with every pair of factors multiplied out into an ordinary nn.Linear."""
        found = _factored(model)
        refuse_offloaded(found.values())
        for path, module in found.items():
            put(model, path, merged_linear(module))
        # the caller passes the configuration's dtype when its user named none: that one must not undo a model.to(…)
        if dtype not in (None, model.config.dtype):
            for p in model.parameters():  # not model.to(dtype): it would round the rotary frequencies, too
                p.data = p.data.to(dtype)
        return model


def merged_linear(module: FactoredLinear) -> nn.Linear:
    """The dense layer of a pair of factors, in their dtype, on their device."""
    linear = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None, device="meta")
    with torch.no_grad():
        linear.weight = nn.Parameter(module.merged())
        if module.bias is not None:
            linear.bias = nn.Parameter(module.bias.detach())
    return linear.train(module.training)


def check_site(model: nn.Module, path: str, linear: nn.Module, rank: int, kind: type[LowRankError]) -> None:
    """Nothing; an error of this kind where a site cannot hold factors of this rank."""
    if not isinstance(linear, nn.Linear | FactoredLinear):
        raise kind(f"{path} is a {type(linear).__name__}, not a linear layer.", "Only linear layers can be factored.")
    most = min(linear.in_features, linear.out_features)
    if not 1 <= rank <= most:
        raise kind(f"{path} has rank {rank}.", f"It must lie between 1 and {most}.")
    tied = model.all_tied_weights_keys
    if f"{path}.weight" in {*tied.keys(), *tied.values()}:
        raise kind(f"{path} shares its weight with another module.", "Only weights that are not tied can be factored.")


def refuse_offloaded(modules: Iterable[nn.Module]) -> None:
    """Nothing; BadValue where weights were moved to disk or kept elsewhere by a device map."""
    if any(p.is_meta for m in modules for p in m.parameters()):
        raise BadValue("Some of the model's weights are offloaded.", "Load it without offloading, then try again.")


def _checked(ranks: Mapping[str, int] | None) -> dict[str, int]:
    """The ranks of a configuration as a plain dict; ModelCorrupt where it is something else."""
    if not isinstance(ranks, Mapping):
        raise ModelCorrupt("The model's quantization_config has no table of ranks.", AGAIN)
    for path, rank in ranks.items():
        if not isinstance(rank, int) or isinstance(rank, bool):
            raise ModelCorrupt(f"The rank of {path} is {rank!r}, not a whole number.", AGAIN)
    return dict(ranks)


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


def _check_stored(path: str, linear: nn.Module, rank: int, shapes: Mapping[str, tuple], names_known: bool) -> None:
    """Nothing; ModelCorrupt where a factor is missing or has another shape: transformers would only warn and invent it.

    `names_known` is False for families whose checkpoints use other names than their modules: nothing can be said then.
    """
    if not names_known:
        return
    wanted = {f"{path}.weight": (rank, linear.in_features), f"{path}.weight_u": (linear.out_features, rank)}
    for key, shape in wanted.items():
        if shapes.get(key) != shape:
            what = f"has shape {shapes[key]}" if key in shapes else "is missing"
            raise ModelCorrupt(f"The factor {key} {what}; the model needs {shape}.", AGAIN)


def _factored(model: nn.Module) -> dict[str, FactoredLinear]:
    """Path → module of the model's factored layers."""
    return {path: m for path, m in model.named_modules() if isinstance(m, FactoredLinear)}
