"""Lesson 5: a cut fitted to one text on another one; nesting and a ridge, on the bundled model's first v projection.

Everything happens on the outputs' side: a cut is Ŵ = P W with P a projection of rank k, and its error on inputs with
second moment C is tr((I − P) W C Wᵀ).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..calibration.texts import TEXTS
from .base import Control, Layers, Lesson, percent
from .first_block import first_block

HOME = "demo"
AWAY = ("instruct-ja-sample", "cmrc-sample", "wikitext-sample", "ptb-sample")
ROLE, KEEP = "v", 0.5
SHARES = np.array(
    [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0]
)  # k₁ / k; 1 is ASVD-I alone, 0 is plain SVD
RIDGES = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 19)])  # μ, in units of the mean input energy
CONTROL = Control("k₁ / k: share of the rank for the first cut", 0, 1, 0.05, 1, 0.95)


@dataclass(frozen=True)
class Errors:
    """Output errors along k₁/k, as shares of the outputs' root mean square."""

    shares: np.ndarray  # (K,)
    home: np.ndarray  # (K,) of nesting on the text it was fitted to; the ridge is set to err as much
    away: np.ndarray  # (K,) of nesting on the other text
    ridge: np.ndarray  # (K,) of the ridge on the other text
    share: float  # where the slider stands
    text: str  # label of the other text
    tokens: int  # of it
    rank: int

    @property
    def caption(self) -> str:
        home, away, ridge = (np.interp(self.share, self.shares, row) for row in (self.home, self.away, self.ridge))
        return (
            f"Rank {self.rank}, k₁/k = {self.share:g}: {percent(home)} of the output is lost at home. "
            f"On the {self.text} ({self.tokens:,} tokens): {percent(away)} nested, {percent(ridge)} with a ridge that "
            f"errs as much at home. Measured on the bundled model, block 0 · {ROLE}."
        )


def top(matrix: np.ndarray, rank: int) -> np.ndarray:
    """(m, rank) the leading eigenvectors of a symmetric matrix."""
    return np.linalg.eigh(matrix)[1][:, ::-1][:, :rank]


def nested(weight: np.ndarray, moment: np.ndarray, share: float, rank: int) -> np.ndarray:
    """(m, k) basis of NSVD's outputs: ASVD-I at rank k₁, then plain SVD of what it left at rank k − k₁."""
    first = top(moment, round(share * rank))
    rest = weight - first @ (first.T @ weight)
    return np.hstack([first, top(rest @ rest.T, rank - first.shape[1])])


def lost(moment: np.ndarray, basis: np.ndarray) -> float:
    """The output error of the cut onto a basis, where the outputs' second moment is (m, m)."""
    kept = float(np.einsum("ij,ik,kj->", basis, moment, basis))
    return float(np.sqrt(max(1 - kept / np.trace(moment), 0)))


@dataclass(frozen=True)
class Fits:
    """Cuts fitted to the home text: bases of their outputs, and their errors there."""

    weight: np.ndarray
    rank: int
    nests: list[np.ndarray]  # at every share
    home: np.ndarray
    ridges: list[np.ndarray]  # at every ridge
    ridge_home: np.ndarray


@lru_cache(maxsize=1)
def fits() -> Fits:
    """The Fits, made once."""
    block = first_block()
    weight, gram = block.weights[ROLE], block.gram(HOME)
    (m, n), moment = weight.shape, weight @ gram @ weight.T
    rank = int(KEEP * m * n / (m + n))
    nests = [nested(weight, moment, share, rank) for share in SHARES]
    unit = np.trace(gram) / n * weight @ weight.T
    ridges = [top(moment + mu * unit, rank) for mu in RIDGES]
    home, ridge_home = (np.array([lost(moment, b) for b in bases]) for bases in (nests, ridges))
    return Fits(weight, rank, nests, home, ridges, np.maximum.accumulate(ridge_home))


@lru_cache(maxsize=8)
def errors(text: str) -> Errors:
    """Errors at home and on another text, at every share."""
    made, block = fits(), first_block()
    moment = made.weight @ block.gram(text) @ made.weight.T
    away, ridge = (np.array([lost(moment, b) for b in bases]) for bases in (made.nests, made.ridges))
    return Errors(
        SHARES,
        made.home,
        away,
        np.interp(made.home, made.ridge_home, ridge),
        CONTROL.start,
        TEXTS[text].label,
        len(block.tokens(text)),
        made.rank,
    )


def picture(layers: Layers, text: str | None, share: float) -> Errors:
    found = errors(text or AWAY[0])
    return Errors(**{**vars(found), "share": share})


def figures(layers: Layers, choice: str | None) -> dict[str, str]:
    unlike, like = errors(AWAY[0]), errors(AWAY[2])
    at = int(np.abs(SHARES - CONTROL.told).argmin())
    return {
        "share": f"{CONTROL.told:g}",
        "unlike_plain": percent(unlike.away[-1]),
        "unlike_nested": percent(unlike.away[at]),
        "unlike_ridge": percent(unlike.ridge[at]),
        "like_plain": percent(like.away[-1]),
        "like_nested": percent(like.away[at]),
        "like_ridge": percent(like.ridge[at]),
    }


LESSON = Lesson(
    "5-nested",
    lambda choice: CONTROL,
    picture,
    figures,
    "The other text",
    lambda layers: [(TEXTS[t].label, t) for t in AWAY],
    lambda layers: AWAY[0],
)
