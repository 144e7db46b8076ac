"""The mean squared loss gradient at every site's output: what an output error costs in nats.

Labels are sampled from the model itself (the true Fisher information), seeded.
"""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..jobs import Job, Progress
from ..models.loading import LoadedModel
from ..models.surgery import share_copy

BATCH = 4


def collect_gradients(loaded: LoadedModel, windows: Tensor, seed: int = 0) -> Job[dict[str, Tensor]]:
    """path → (m,) float64 E[g²] per token, g the gradient of the summed token losses at the site's output.

    windows (N, T): every position predicts a label sampled from the model's own distribution.
    """
    model = share_copy(loaded.model)
    generator = torch.Generator(loaded.device).manual_seed(seed)
    moments = {s.path: torch.zeros(s.d_out, dtype=torch.float64, device=loaded.device) for s in loaded.anatomy.sites}
    batches = windows.split(BATCH)
    with _watching(model, moments):
        for i, batch in enumerate(batches):
            with torch.enable_grad():
                logits = model(input_ids=batch.to(loaded.device), use_cache=False).logits.float().flatten(0, 1)
                with torch.no_grad():
                    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
            yield Progress("gradients", i + 1, len(batches), f"windows {i * BATCH + 1} to {i * BATCH + len(batch)}")
    return {path: moment / windows.numel() for path, moment in moments.items()}


@contextmanager
def _watching(model: nn.Module, moments: dict[str, Tensor]):
    def watch(path: str):
        def add(gradient: Tensor) -> None:
            moments[path] += gradient.flatten(0, -2).double().square().sum(0)

        def hook(module, args, output: Tensor) -> Tensor:
            if not output.requires_grad:
                output.requires_grad_(True)  # the weights are frozen: the first sites are where the graph begins
            output.register_hook(add)
            return output

        return hook

    handles = [model.get_submodule(p).register_forward_hook(watch(p)) for p in moments]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
