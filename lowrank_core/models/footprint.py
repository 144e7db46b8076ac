"""What a model reads in one step, and what it holds, in bytes."""

from torch import nn

from ..modules import JointLinear
from ..modules.product import Product


def bytes_read(model: nn.Module, batch: int = 1) -> int:
    """Bytes of weights that a decoding step reads: every weight as often as a layer uses it, `batch` rows of tables.

    *Limits*: of a mixture of experts all of them count.
    """
    total = 0
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            total += batch * module.weight.shape[1] * module.weight.element_size()
            continue
        total += sum(p.nbytes for p in module.parameters(recurse=False))
        total += module.packed_bytes if isinstance(module, Product) else 0
        total += module.source.weight.nbytes if isinstance(module, JointLinear) else 0
    return total


def bytes_held(model: nn.Module) -> int:
    """Bytes of a model's weights and buffers, shared ones once."""
    packed = sum(m.packed_bytes for m in model.modules() if isinstance(m, Product))
    return packed + sum({t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}.values())
