"""Low-rank compression of language models, seen and measured: ASVD, NSVD and what comes after them.

    import lowrank_core as lr
    compressed = lr.run(lr.Recipe(model="demo", ratio=0.3))     # calibrate → spectra → plan → compress
    print(compressed.ratio_achieved, compressed.predicted_nll)
    lr.save(compressed, "demo-30")                              # an ordinary transformers folder

The story is told in `lowrank_core/study/compress.py`; a method is one file in `lowrank_core/methods/`.
Importing this package also lets `AutoModelForCausalLM.from_pretrained` load the folders it saves. Names are loaded
when they are first used, so that a page that only reads results never waits for torch.
"""

import importlib
import os

from .settings import granted_cores

# Idle OpenMP threads that spin make small factorizations 20 × slower as soon as anything else runs (measured on two
# cores: SVD of 640 × 256, 1.38 s spinning, 0.07 s waiting). It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Threads that sleep at once wake too late for the next product, some 20 µs on: decoding at half the size gets 1.5 ×
# dense in place of 1.7 ×. So GNU's runtime spins for about as long, and no longer.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

if (_cores := granted_cores()) is not None:
    os.environ.setdefault("OMP_NUM_THREADS", str(_cores))

from .models.register import AFTER_LOADING, register_on_import  # noqa: E402

_HOMES = {
    "METHODS": "methods",
    "ALLOCATORS": "allocation",
    "Recipe": "study.recipe",
    "load_model": "models.loading",
    "load_compressed": "models.loading",
    "run": "study.compress",
    "compress": "study.compress",
    "calibrate": "study.steps",
    "factorize": "study.steps",
    "sensitivity": "study.steps",
    "allocate": "study.steps",
    "perplexity": "study.steps",
    "generate": "study.steps",
    "save": "study.steps",
    "push": "export.hub",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)




def _serve_latents(model) -> None:
    from .kv.serving import attach

    attach(model)


AFTER_LOADING["latents"] = _serve_latents
register_on_import()
