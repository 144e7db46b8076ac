"""The token strip: a reply's tokens, coloured by how far two models part there."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.divergence import Likely, TokenDivergence

FAINT, FULL = 1e-3, 3.0  # nats: no colour at all, and the whole colour; between them, by the logarithm


def shade(kl: float) -> float:
    """0 … 1: how much of the colour a divergence gets."""
    return min(1.0, max(0.0, math.log(max(kl, 1e-12) / FAINT) / math.log(FULL / FAINT)))


def strip(
    found: Sequence[TokenDivergence], names: tuple[str, str], decode: Callable[[int], str], parts: int | None = None
) -> str:
    """HTML of the strip: hover, tap or the arrow keys say both models' top 3 at a token (assets/strip.js).

    `parts`: the first token that the two replies do not share, which gets a mark.
    """
    if not found:
        return ""
    spans = []
    for i, d in enumerate(found):
        text = decode(d.token)
        tops = (_likely(name, of, decode) for name, of in zip(names, (d.first, d.second), strict=True))
        tip = html.escape(f"{text!r}: KL {d.kl:.3g} nats. {' '.join(tops)}")
        shown = html.escape(text).replace("\n", "↵\n")
        mark = ' class="parts"' if i == parts else ""
        spans.append(f'<span{mark} data-tip="{tip}" style="--kl:{shade(d.kl):.2f}">{shown}</span>')
    mean = sum(d.kl for d in found) / len(found)
    same = sum(d.first[0][0] == d.second[0][0] for d in found)
    legend = (
        f"Both read the reply of <b>{html.escape(names[0])}</b>: KL from it to <b>{html.escape(names[1])}</b> is "
        f"{mean:.3g} nats a token on average; at {same} of {len(found)} tokens both find the same one likeliest. "
        f"No colour: {FAINT:g} nats or less; full colour: {FULL:g} or more."
        + (" The bar stands where the two replies part." if parts is not None and parts < len(found) else "")
    )
    return (
        f'<div class="strip" tabindex="0" role="group" aria-label="Tokens of the reply by divergence; arrow keys move">'
        f'{"".join(spans)}</div><p class="strip-tip" role="status">Point at a token, or use the arrow keys.</p>'
        f'<p class="caption">{legend}</p>'
    )


def _likely(name: str, likely: Likely, decode: Callable[[int], str]) -> str:
    return f"{name}: {', '.join(f'{decode(t)!r} {p:.0%}' for t, p in likely)}."
