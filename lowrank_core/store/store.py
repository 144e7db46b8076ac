"""The store: a folder of artefacts that many processes may read and write at once."""

import fcntl
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ArtefactCorrupt
from .artefact import Artefact, Key


class Store:
    """Artefacts in `folder`, with read-only `shipped` folders to fall back on.

    A file is written under a temporary name and renamed, so that a process killed at any moment leaves either the
    old artefact, or the new one, or none. What cannot be read is removed and counts as absent.
    """

    def __init__(self, folder: Path | str, shipped: tuple[Path, ...] = ()):
        self.folder, self.shipped = Path(folder), tuple(shipped)

    def read(self, key: Key) -> Artefact | None:
        """The artefact of that name, or None."""
        for folder in (self.folder, *self.shipped):
            for suffix in (".json", ".safetensors"):
                path = folder / key.kind / (key.digest + suffix)
                try:
                    return Artefact.decode(path)
                except FileNotFoundError:
                    continue
                except ArtefactCorrupt as error:
                    warnings.warn(str(error), stacklevel=2)
                    if folder == self.folder:
                        path.unlink(missing_ok=True)
        return None

    def write(self, key: Key, artefact: Artefact) -> Artefact:
        """Store an artefact under its name, whole or not at all, and return it."""
        path = self._path(key, artefact)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            artefact.write(key, fresh)
            os.replace(fresh, path)
            path.with_suffix(".json" if artefact.arrays else ".safetensors").unlink(missing_ok=True)  # its former self
        finally:
            fresh.unlink(missing_ok=True)
        return artefact

    def get(self, key: Key, compute: Callable[[], Artefact]) -> Artefact:
        """The stored artefact, or the one `compute` makes, which is stored."""
        return self.read(key) or self.write(key, compute())

    def update(self, key: Key, merge: Callable[[Artefact | None], Artefact]) -> Artefact:
        """Replace an artefact by `merge` of the present one, with no other process in between."""
        with self._lock(key):
            return self.write(key, merge(self.read(key)))

    def entries(self) -> Iterator[tuple[str, int, int]]:
        """(kind, number of artefacts, bytes), kind by kind, of the writable folder."""
        for folder in sorted(p for p in self.folder.glob("*") if p.is_dir()):
            files = [f for f in folder.iterdir() if f.suffix in (".json", ".safetensors")]
            if files:
                yield folder.name, len(files), sum(f.stat().st_size for f in files)

    def clear(self, kind: str | None = None) -> int:
        """Remove the artefacts of one kind, or all; the number of bytes set free."""
        freed = sum(size for name, _, size in self.entries() if kind in (None, name))
        for folder in self.folder.glob(kind or "*"):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
        return freed

    def _path(self, key: Key, artefact: Artefact) -> Path:
        return self.folder / key.kind / (key.digest + (".safetensors" if artefact.arrays else ".json"))

    @contextmanager
    def _lock(self, key: Key):
        folder = self.folder / key.kind
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f".{key.digest}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
