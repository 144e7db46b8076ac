"""transformers learns to load our folders, without this module importing it (or torch) by itself."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType

METHOD = "lowrank"  # the quant_method in config.json
HOME = "transformers.quantizers.auto"  # where transformers keeps its tables of quantizers
AFTER_LOADING: dict[str, Callable] = {}  # name → what is done to a model of ours once its weights are there


def register() -> None:
    """After this, `from_pretrained` loads folders whose quant_method is "lowrank". Calling it again changes nothing."""
    from transformers.quantizers import auto

    from .quantizer import LowRankConfig, LowRankQuantizer

    # transformers refuses a second registration, but a re-imported module must replace the classes of its first life
    if auto.AUTO_QUANTIZATION_CONFIG_MAPPING.get(METHOD) is not LowRankConfig:
        auto.AUTO_QUANTIZATION_CONFIG_MAPPING.pop(METHOD, None)
        auto.register_quantization_config(METHOD)(LowRankConfig)
    if auto.AUTO_QUANTIZER_MAPPING.get(METHOD) is not LowRankQuantizer:
        auto.AUTO_QUANTIZER_MAPPING.pop(METHOD, None)
        auto.register_quantizer(METHOD)(LowRankQuantizer)


def register_on_import() -> None:
    """Register now where transformers' tables are loaded, else right after they will be."""
    # by name: after a re-import, a finder of this module's first life may still be waiting
    sys.meta_path[:] = [f for f in sys.meta_path if (type(f).__module__, type(f).__name__) != (__name__, "_Finder")]
    if HOME in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds HOME where the finders behind it do, with a loader that registers afterwards."""

    def find_spec(self, fullname, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        if fullname != HOME:
            return None
        # only those behind this one, as the import system would: two such hooks that asked each other would never end
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :]
        spec = next(filter(None, (f.find_spec(fullname, path, target) for f in behind)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads like the loader it wraps, then registers and removes the finder."""

    def __init__(self, loader, finder: _Finder):
        self._loader, self._finder = loader, finder

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self._loader  # whoever asks later meets the ordinary loader
        self._loader.exec_module(module)
        # only now, so that a mere find_spec, or a failed import that is tried again, does not lose the hook
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        register()
