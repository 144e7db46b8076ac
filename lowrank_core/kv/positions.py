"""Which position every cached token has, in few bytes: consecutive ones need a start only."""

import torch
from torch import Tensor


class Positions:
    """The positions of the tokens in a cache, shared by its layers.

    Row b has head[b] first, token by token, and goes on from the head's end by ones: prompts without padding need no
    head at all, left-padded ones a head as long as the padding.
    """

    def __init__(self):
        self.length = 0
        self.head: Tensor | None = None  # (B, H) int32
        self.start: Tensor | None = None  # (B,) int32 the position that follows the head

    def extend(self, ids: Tensor) -> None:
        """Add tokens at positions (B, T)."""
        ids = ids.to(torch.int32)
        known = self.all(len(ids), ids.device)
        self.length += ids.shape[1]
        if self.start is not None and bool((self._run(self.length)[:, -ids.shape[1] :] == ids).all()):
            return
        whole = torch.cat([known, ids], 1)
        steps = (whole[:, 1:] - whole[:, :-1] != 1).any(0)
        last = int(steps.nonzero().max()) + 1 if bool(steps.any()) else 0  # the tokens before the last jump
        self.head = whole[:, :last].clone()
        self.start = whole[:, last].clone()

    def all(self, batch: int, device: torch.device) -> Tensor:
        """(B, length) the position of every token."""
        if self.start is None:
            return torch.zeros(batch, 0, dtype=torch.int32, device=device)
        run = self._run(self.length)
        return torch.cat([self.head[:, : self.length], run], 1).to(device)

    def _run(self, length: int) -> Tensor:
        """(B, length − H) the positions that follow the head."""
        more = max(length - self.head.shape[1], 0)
        return self.start[:, None] + torch.arange(more, dtype=torch.int32, device=self.start.device)

    def crop(self, length: int) -> None:
        """Keep the first tokens."""
        if length < self.length:
            self.length = length
            if length < (self.head.shape[1] if self.head is not None else 0):
                self.start, self.head = self.head[:, length].clone(), self.head[:, :length].clone()

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        if self.start is not None:
            rows = rows.to(self.start.device)
            self.head, self.start = self.head[rows], self.start[rows]

    def repeat(self, times: int) -> None:
        """Every row that many times."""
        if self.start is not None:
            self.head, self.start = self.head.repeat_interleave(times, 0), self.start.repeat_interleave(times, 0)

    def reset(self) -> None:
        """Forget everything."""
        self.__init__()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is stored."""
        return tuple(t for t in (self.head, self.start) if t is not None)
