"""Dense linear layers, whichever way round a model keeps their weight.

Like the quantizer, this is imported while transformers is: of it, only a submodule may be named.
"""

import copy

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

DENSE = (nn.Linear, Conv1D)  # GPT-2's Conv1D is y = x W + b with W of (d_in, d_out)


def sizes(module: nn.Module) -> tuple[int, int]:
    """(d_out, d_in) of a dense linear, or of what stands for one."""
    if isinstance(module, Conv1D):
        return module.nf, module.nx
    return module.out_features, module.in_features


def dense_weight(module: nn.Module) -> Tensor:
    """(d_out, d_in) the weight of a dense linear, sharing its memory."""
    return module.weight.T if isinstance(module, Conv1D) else module.weight


def dense_like(kind: type[nn.Module], weight: Tensor, bias: Tensor | None) -> nn.Module:
    """The dense linear of a weight (d_out, d_in): a Conv1D where the model's class has one there, else a Linear."""
    d_out, d_in = weight.shape
    with torch.device("meta"):
        made = Conv1D(d_out, d_in) if issubclass(kind, Conv1D) else nn.Linear(d_in, d_out, bias=bias is not None)
    with torch.no_grad():
        made.weight = nn.Parameter(weight.T.contiguous() if issubclass(kind, Conv1D) else weight)
        if bias is not None:
            made.bias = nn.Parameter(bias)
    return made


def bare(model: nn.Module) -> nn.Module:
    """A model of the same class and configuration with every layer dense and no values: what its class has where."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        return type(model)(config)
