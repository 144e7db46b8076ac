"""NSVD-I: most of the rank by ASVD-I, the rest by a plain SVD of what ASVD-I left over."""

from .asvd_i import factorize as outer_factorize
from .base import Factorization, Factors, Method, Parameter

SHARE = Parameter("share", 0.95, 0.0, 1.0, "k₁ / k: the share of the rank that the outer ASVD-I takes")


def factorize(weight, statistics, parameters) -> Factorization:
    """[A₁ A₂] and [B₁; B₂] with k₁ + k₂ = k: ASVD-I at k₁, then plain SVD of W − A₁ B₁ at k₂ (NSVD, arXiv 2503.17101).

    *Limits*: on the calibration text it cannot beat ASVD-I; it trades that error for error on other inputs.
    """
    import torch

    from ..linalg import balanced_svd

    outer = outer_factorize(weight, statistics, parameters)

    def second(rank: int) -> Factors:
        first = round(parameters["share"] * rank)
        left, right = outer.left[:, :first], outer.right[:first]
        if first == rank:
            return Factors(left, right)
        rest_left, rest_right, _, _ = balanced_svd(weight - left @ right)
        rest = rank - first
        return Factors(torch.cat([left, rest_left[:, :rest]], 1), torch.cat([right, rest_right[:rest]]))

    return Factorization(outer.left, outer.right, outer.sigma, outer.output_error, second)


METHOD = Method(
    key="nsvd-i",
    label="NSVD-I",
    line="ASVD-I for most of the rank, plain SVD of the remainder for the rest: hedges against other texts.",
    paper="Lu et al. 2025, NSVD",
    link="https://arxiv.org/abs/2503.17101",
    sliceable=False,
    factorize=factorize,
    parameters=(SHARE,),
)
