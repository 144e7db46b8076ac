"""Joint: the matrices that read one input are stacked and share their right factor."""

from . import asvd_i, svd
from .base import Factorization, Method, Parameter
from .moments import RIDGE

WHITEN = Parameter.choice("whiten", ("yes", "no"), "weigh the inputs by their second moment, or take the plain SVD")


def factorize(weight, statistics, settings) -> Factorization:
    """ASVD-I, or plain SVD, of the stacked weight of an input group: (Σ m_i, r) and one shared (r, n).

    Parameters r (n + Σ m_i), fewer than r Σ (n + m_i) of single factors (arXiv 2402.16319, data-free; whitened here).
    """
    if settings["whiten"]:  # 1 is "no"
        return svd.factorize(weight, statistics, settings)
    return asvd_i.factorize(weight, statistics, settings)


METHOD = Method(
    key="joint",
    label="Joint",
    line="Stacks the layers that read one input (q/k/v, gate/up) and gives them one shared right factor.",
    paper="data-free joint rank-k (2402.16319), whitened as ASVD-I",
    link="https://arxiv.org/abs/2402.16319",
    sliceable=True,
    factorize=factorize,
    parameters=(WHITEN, RIDGE),
    joint=True,
)
