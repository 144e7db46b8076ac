"""Factorizations kept for slicing, within a number of bytes."""

import threading

from ..methods import Factorization


class Shelf:
    """Factorizations by name: the ones asked for last, as many as fit into `most` bytes, and at least one."""

    def __init__(self, most: int):
        self.most, self.held = most, 0
        self._made: dict[tuple, Factorization] = {}  # in the order of use
        self._lock = threading.Lock()

    def get(self, name: tuple) -> Factorization | None:
        """The factorization of a name, now the last one used; None where there is none (any more)."""
        with self._lock:
            made = self._made.pop(name, None)
            if made is not None:
                self._made[name] = made
            return made

    def put(self, name: tuple, made: Factorization) -> None:
        """Keep a factorization, and give up those not used for longest where there are too many bytes."""
        with self._lock:
            if (old := self._made.pop(name, None)) is not None:
                self.held -= size(old)
            self._made[name] = made
            self.held += size(made)
            while self.held > self.most and len(self._made) > 1:
                self.held -= size(self._made.pop(next(iter(self._made))))


def size(made: Factorization) -> int:
    """Bytes of a factorization; with a second stage, those of the weight that it works on, too."""
    factors = made.left.nbytes + made.right.nbytes
    return factors + (made.left.shape[0] * made.right.shape[1] * made.left.itemsize if made.second else 0)
