"""The models in memory: as many as fit into a number of bytes; one that somebody works with is never given up."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ModelTooLarge
from ..jobs import Job
from ..models.where import locate
from .host import Host

if TYPE_CHECKING:
    from ..models.loading import LoadedModel


@dataclass(frozen=True)
class Way:
    """The device and the dtype that a model is to be loaded on and in; None: chosen for it, see `load_model`."""

    device: str | None = None
    dtype: str | None = None


AUTOMATIC = Way()


class Residents:
    """Loaded models by name, within the host's limits; `forget` is told of each that is given up."""

    def __init__(self, host: Host, forget: Callable[[LoadedModel], None]):
        self.host, self._forget = host, forget
        self._tables = threading.Lock()  # around the dicts, never during work
        self._guards: dict[str, threading.Lock] = {}
        self._models: OrderedDict[str, tuple[LoadedModel, int]] = OrderedDict()  # in the order of use, with its bytes
        self._asked: dict[str, Way] = {}  # name → how somebody last asked for it
        self._users: Counter[str] = Counter()  # name → jobs that run on it

    def get(self, name: str) -> LoadedModel | None:
        """The model if it is in memory, without loading it."""
        with self._tables:
            found = self._models.get(name)
            return found and found[0]

    @property
    def bytes(self) -> int:
        """Of all models in memory."""
        with self._tables:
            return sum(held for _, held in self._models.values())

    def opening(self, name: str, token: str | None = None, way: Way | None = None) -> Job[LoadedModel]:
        """The model, downloaded and loaded where it is not in memory, changed on disk, or is asked for in another way.

        `way`: the device and the dtype to load it on and in; by default as it was last asked for. A public host chooses
        both itself: its visitors share its models.

        Raises what `load_model` raises, and ModelTooLarge where models in use leave no room for it; the others are
        kept then. On a public host no visitor's download uses the host's own token.
        """
        from ..models.loading import load_model

        self.host.check_model(name)
        with self._guard(name), self.using(name):  # one visitor's loading does not hold up another's model
            before = self._asked.get(name, AUTOMATIC)
            way = before if way is None or self.host.public else way
            loaded = self.get(name)
            if loaded is not None and way == before and loaded.folder.fingerprint == locate(name).fingerprint:
                with self._tables:
                    if name in self._models:
                        self._models.move_to_end(name)
                return loaded
            own = token or (False if self.host.public else None)
            loaded = yield from load_model.steps(name, way.device, way.dtype, own, self.host.model_bytes)
            self._keep(name, loaded)
            self._asked[name] = way
            return loaded

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """While this lasts, the model is not given up for others."""
        with self._tables:
            self._users[name] += 1
        try:
            yield
        finally:
            with self._tables:
                self._users[name] -= 1
                if self._users[name] <= 0:
                    del self._users[name]

    def _keep(self, name: str, loaded: LoadedModel) -> None:
        """Put a model among the others, and give up those used longest ago where they are too many bytes."""
        from ..models.layout import stored_tensors

        most, gone = self.host.resident_bytes, []
        with self._tables:
            if name in self._models:
                gone.append(self._models.pop(name)[0])
            self._models[name] = (loaded, sum(t.nbytes for t in stored_tensors(loaded.model)))
            for old in [n for n in self._models if n != name and not self._users[n]]:
                if most is None or self._held() <= most:
                    break
                gone.append(self._models.pop(old)[0])
            full = most is not None and self._held() > most and len(self._models) > 1
            if full:
                del self._models[name]
        for model in gone:
            self._forget(model)
        if full:
            raise ModelTooLarge(
                f"The models in use leave no room for {name!r}.", "Try again in some minutes, or take a smaller model."
            )

    def _held(self) -> int:
        return sum(held for _, held in self._models.values())

    def _guard(self, name: str) -> threading.Lock:
        with self._tables:
            return self._guards.setdefault(name, threading.Lock())

    def after_fork(self) -> None:
        """Locks that nobody holds, models that nobody uses: other threads stayed behind."""
        self._tables, self._guards, self._users = threading.Lock(), {}, Counter()
