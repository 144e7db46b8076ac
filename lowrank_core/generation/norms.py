"""RMS norms in few kernels: a step of a small model spends more of its time on norms than on what they norm.

transformers' norm is eight kernels: to float32, square, mean, + ε, inverse root, two products, back. On a CPU the same
is four, as sqrt(|x|² + dε) is one `hypot`. One core (AMD EPYC, Zen 1, torch 2.13, one row of 384): 63 µs, torch's own
`rms_norm` 31, these 17. On a GPU it is torch's, which is one kernel there.
"""

import torch
from torch import Tensor, nn

from ..models.surgery import put

LOUD = (1e-3, 0.1, 1.0, 50.0)  # inputs that are tried
ULPS = 4  # how far apart two answers may be to be the same up to rounding


class Norm(nn.Module):
    """x · g / sqrt(mean x² + ε) over the last dimension, computed in float32."""

    def __init__(self, weight: nn.Parameter, eps: float, shift: float = 0.0):
        """The gains g are `weight` (d,) + `shift`."""
        super().__init__()
        self.weight, self.eps = weight, eps
        wide = weight.detach().float()
        self.register_buffer("gain", (wide + shift) * len(weight) ** 0.5, persistent=False)
        self.register_buffer("least", torch.tensor((eps * len(weight)) ** 0.5, device=weight.device), persistent=False)
        self.native = weight.is_cuda and not shift

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        if self.native:
            return torch.rms_norm(x, self.weight.shape, self.weight, self.eps)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return (x / torch.hypot(length, self.least) * self.gain).to(x.dtype)


def quick_norms(model: nn.Module) -> None:
    """Put a `Norm` wherever it answers as the module there, up to rounding; all other norms are left alone."""
    named = [(p, m) for p, m in model.named_modules() if type(m).__name__.endswith("RMSNorm")]
    for path, module in named:
        if (quick := quicker(module)) is not None:
            put(model, path, quick.train(False))


@torch.no_grad()
def quicker(module: nn.Module) -> Norm | None:
    """A `Norm` that answers as a module does, with its weight or, as Gemma's, with 1 more; None where neither does."""
    weight = getattr(module, "weight", None)
    eps = next((e for name in ("variance_epsilon", "eps") if (e := getattr(module, name, None)) is not None), None)
    if not isinstance(weight, nn.Parameter) or weight.dim() != 1 or eps is None or set(module.children()):
        return None
    x = torch.randn(len(LOUD), len(weight), generator=torch.Generator().manual_seed(0))
    x = (x * torch.tensor(LOUD)[:, None]).to(weight)
    wanted, ulp = module(x), torch.finfo(weight.dtype).eps
    for shift in (0.0, 1.0):
        quick = Norm(weight, eps, shift)
        if torch.allclose(quick(x), wanted, rtol=ULPS * ulp, atol=ulp * 1e-3):
            return quick
    return None
