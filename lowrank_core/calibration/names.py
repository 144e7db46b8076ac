"""How several texts are written in one name: `demo:2+wikitext-sample:1` (no torch here)."""

import math
from collections.abc import Callable

from ..errors import BadValue

PLUS, COLON = "+", ":"


def split_mix(name: str, known: Callable[[str], bool]) -> list[tuple[str, float]]:
    """(text, weight) of each part of a name, weights 1 where none is written; BadValue for a weight that is none.

    `known` tells which names stand for a text as they are: a file's may hold + and : itself.
    """
    pieces, parts, i = name.split(PLUS), [], 0
    while i < len(pieces):
        for j in range(len(pieces), i, -1):  # the longest stretch that is a text: a+b.txt before a
            part = _weighed(PLUS.join(pieces[i:j]).strip(), known)
            if part is not None or j == i + 1:
                break
        parts.append(part or (pieces[i].strip(), 1.0))  # unknown: whoever reads it says so
        i = j
    return parts


def _weighed(part: str, known: Callable[[str], bool]) -> tuple[str, float] | None:
    """The text and the weight in a part; None where it names no text."""
    if known(part):
        return part, 1.0
    text, colon, weight = part.rpartition(COLON)
    if not colon or PLUS in weight or not known(text):
        return None
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise BadValue(
            f"{weight!r} is no weight for the text {text!r}.", "Write a number above 0, as in demo:2+wikitext-sample:1."
        )
    return text, number


def shares(weights: list[float], count: int, room: list[int]) -> list[int]:
    """How many of `count` windows each part gives, as its weight has it and no more than its room.

    Largest remainders; at least one each where there are as many windows as parts; what a short part cannot give is
    given by the others in proportion.
    """
    given = [0] * len(weights)
    while (left := min(count, sum(room)) - sum(given)) > 0:
        open_ = [i for i in range(len(weights)) if given[i] < room[i]]
        total = sum(weights[i] for i in open_)
        exact = {i: left * weights[i] / total for i in open_}
        more = {i: int(exact[i]) for i in open_}
        for i in sorted(open_, key=lambda i: (more[i] - exact[i], i))[: left - sum(more.values())]:
            more[i] += 1
        for i in open_:
            given[i] = min(room[i], given[i] + more[i])
    for i in [i for i in range(len(given)) if given[i] == 0 and room[i] > 0]:
        rich = max(range(len(given)), key=lambda k: given[k])
        if given[rich] > 1:
            given[rich], given[i] = given[rich] - 1, 1
    return given


def interleaved(counts: list[int]) -> list[tuple[int, int]]:
    """(part, its window) in an order in which every beginning has about the proportions of the whole."""
    places = [((n + 0.5) / count, part, n) for part, count in enumerate(counts) for n in range(count)]
    return [(part, n) for _, part, n in sorted(places)]
