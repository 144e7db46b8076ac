"""Results on disk, named by the hash of everything that decided them."""

from .artefact import Artefact, Key
from .store import Store
from .versions import VERSIONS

__all__ = ["VERSIONS", "Artefact", "Key", "Store"]
