"""The line before the device of a public host: one job at a time, in the order of arrival, a slice of time each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(eq=False)
class Ticket:
    """A place in the line."""

    stepping: bool = False  # its job is computing right now
    began: float = 0.0  # when it came to the front
    seen: float = 0.0  # when it last computed or waited


class Line:
    """Whose job may compute.

    The first in the line may; once it has had its slice and others wait, it goes to the back. A job that is not heard
    of for `grace` seconds while it is first (a visitor who left) loses its place, so that nobody holds up the others.
    """

    def __init__(self, slice_seconds: float, grace: float = 3.0):
        self.slice, self.grace = slice_seconds, grace
        self._changed = threading.Condition()
        self._tickets: list[Ticket] = []

    def join(self) -> Ticket:
        """A new place at the end."""
        ticket = Ticket()
        with self._changed:
            self._append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place up; the next one may begin."""
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
            ticket.stepping = False
            self._advance()

    def enter(self, ticket: Ticket, seconds: float) -> bool:
        """Whether it is this ticket's turn, after waiting for it at most so long; `exit` must follow where it is."""
        until = time.monotonic() + seconds
        with self._changed:
            if ticket not in self._tickets:  # it was given up for lost
                self._append(ticket)
            while self._tickets[0] is not ticket:
                now = time.monotonic()
                ticket.seen = now
                first = self._tickets[0]
                if not first.stepping and now - max(first.seen, first.began) > self.grace:
                    self._tickets.remove(first)
                    self._advance()
                    continue
                if now >= until:
                    return False
                self._changed.wait(min(until - now, self.grace / 4))
            ticket.stepping, ticket.seen = True, time.monotonic()
            return True

    def exit(self, ticket: Ticket) -> None:
        """A step is done; the place is kept, unless the slice is over and others wait."""
        with self._changed:
            now = time.monotonic()
            ticket.stepping, ticket.seen = False, now
            if len(self._tickets) > 1 and self._tickets[0] is ticket and now - ticket.began > self.slice:
                self._tickets.append(self._tickets.pop(0))
                self._advance()

    def place(self, ticket: Ticket) -> tuple[int, int]:
        """How many are before a ticket, and how many stand in the line."""
        with self._changed:
            before = self._tickets.index(ticket) if ticket in self._tickets else len(self._tickets)
            return before, len(self._tickets)

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def held(self) -> bool:
        """Whether a job is computing right now."""
        with self._changed:
            return any(t.stepping for t in self._tickets)

    def _append(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)
        ticket.seen = time.monotonic()
        if len(self._tickets) == 1:
            self._advance()

    def _advance(self) -> None:
        """Whoever is first now begins."""
        if self._tickets:
            self._tickets[0].began = time.monotonic()
        self._changed.notify_all()
