"""One stored result: arrays and facts in a single file that carries its own checksum.

Arrays make it a safetensors file, facts alone a JSON file.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import ArtefactCorrupt
from .versions import VERSIONS


@dataclass(frozen=True)
class Key:
    """The name of an artefact: its kind and everything that decided it."""

    kind: str
    decided: dict = field(hash=False)

    @property
    def digest(self) -> str:
        text = json.dumps([self.kind, VERSIONS[self.kind], self.decided], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Artefact:
    """Named arrays and JSON facts."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict = field(default_factory=dict)

    def checksum(self) -> str:
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(array.data if array.size else b"")
        return digest.hexdigest()

    def write(self, key: Key, path: Path) -> None:
        """Write the file of that name."""
        header = {
            "decided": json.dumps(key.decided, sort_keys=True),
            "facts": json.dumps(self.facts, sort_keys=True),
            "sha256": self.checksum(),
        }
        if not self.arrays:
            path.write_bytes(json.dumps(header, indent=0).encode())
        else:
            save_file({k: np.ascontiguousarray(v) for k, v in self.arrays.items()}, path, header)

    @classmethod
    def decode(cls, path: Path) -> "Artefact":
        """The artefact in a file; ArtefactCorrupt where it is cut short or altered."""
        try:
            if path.suffix == ".json":
                header, arrays = json.loads(path.read_bytes()), {}
            else:
                with safe_open(path, "np") as file:
                    header = file.metadata()
                    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            artefact = cls(arrays, json.loads(header["facts"]))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ArtefactCorrupt(f"The stored result {path.name} cannot be read.", "It is computed again.") from error
        if artefact.checksum() != header.get("sha256"):
            raise ArtefactCorrupt(
                f"The stored result {path.name} does not match its checksum.", "It is computed again."
            )
        return artefact
