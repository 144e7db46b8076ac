"""NSVD and NID: most of the rank by an activation-aware method, the rest by what is blind to the activations."""

from collections.abc import Callable

from . import asvd_i, asvd_ii
from .base import Factorization, Factors, Method, Parameter

SHARE = Parameter("share", 0.95, 0.0, 1.0, "k₁ / k: the share of the rank that the outer method takes")


def nested(outer_factorize: Callable, inner: Callable) -> Callable:
    """[A₁ A₂] and [B₁; B₂] with k₁ + k₂ = k: the outer method at k₁, then `inner` of W − A₁ B₁ at k₂ (NSVD).

    *Limits*: on the calibration text it cannot beat its outer method; it trades that error for error on other inputs.
    """

    def factorize(weight, statistics, settings) -> Factorization:
        import torch

        outer = outer_factorize(weight, statistics, settings)

        def second(rank: int) -> Factors:
            first = round(settings["share"] * rank)
            left, right = outer.left[:, :first], outer.right[:first]
            if first == rank:
                return Factors(left, right)
            more_left, more_right = inner(weight - left @ right, rank - first)
            return Factors(torch.cat([left, more_left], 1), torch.cat([right, more_right]))

        return Factorization(outer.left, outer.right, outer.sigma, outer.output_error, second, mean=outer.mean)

    return factorize


def by_svd(rest, rank: int):
    """The plain SVD of what is left, at a rank."""
    from ..linalg import balanced_svd

    left, right, _, _ = balanced_svd(rest)
    return left[:, :rank], right[:rank]


def by_columns(rest, rank: int):
    """Columns of what is left, and the coefficients that write the others in terms of them."""
    from ..linalg import interpolative

    return interpolative(rest, rank)


def _entry(key: str, label: str, outer: Method, inner: Callable, what: str) -> Method:
    return Method(
        key=key,
        label=label,
        line=f"{outer.label} for most of the rank, {what} of the remainder for the rest: hedges against other texts.",
        paper="Lu et al. 2025, NSVD",
        link="https://arxiv.org/abs/2503.17101",
        sliceable=False,
        factorize=nested(outer.factorize, inner),
        parameters=(SHARE, *outer.parameters),
    )


NSVD_I = _entry("nsvd-i", "NSVD-I", asvd_i.METHOD, by_svd, "plain SVD")
NSVD_II = _entry("nsvd-ii", "NSVD-II", asvd_ii.METHOD, by_svd, "plain SVD")
NID_I = _entry("nid-i", "NID-I", asvd_i.METHOD, by_columns, "an interpolative decomposition")
NID_II = _entry("nid-ii", "NID-II", asvd_ii.METHOD, by_columns, "an interpolative decomposition")
