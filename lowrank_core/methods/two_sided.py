"""Two-sided: errors weighed by what the inputs are and by what the loss makes of the outputs."""

from .base import Factorization, Method
from .moments import CENTRE, RIDGE, input_moment


def factorize(weight, statistics, settings) -> Factorization:
    """SVD of L W S with Lᵀ L = G and S Sᵀ = C, both undone: the optimum of ½ tr(Δᵀ G Δ C), the loss to second order
    with the curvature as a Kronecker product (OBD-LLM, arXiv 2604.00821; the predicted loss is ½ Σ_{i>r} σ_i²).

    *Limits*: G's root is inverted, so it needs the ridge; without one its smallest eigenvalues are kept above 10⁻¹²
    of the largest, and full rank reproduces W to ten digits only.
    """
    import torch

    from ..linalg import balanced, cross_error_tail, reduced, root_of, tail_sums

    moment, mean = input_moment(statistics, settings)
    outer, outer_inverse = (root.T for root in root_of(statistics.output_gram, settings["ridge"]))
    inner, _ = root_of(moment, settings["ridge"])
    q, core = reduced(outer @ weight)
    u, sigma, _ = torch.linalg.svd(core @ inner, full_matrices=False)
    left, right = balanced(outer_inverse @ (u if q is None else q @ u), u.T @ core)  # Σ V S⁻¹ = Uᵀ L W
    error, loss = cross_error_tail(left, right, moment), 0.5 * tail_sums(sigma.square())
    return Factorization(left, right, sigma, error, loss=loss, mean=mean)


METHOD = Method(
    key="two-sided",
    label="Two-sided",
    line="Weighs inputs by their second moment and outputs by the loss gradient's: the loss itself to second order.",
    paper="OBD-LLM 2026; Kronecker-factored curvature (Martens and Grosse 2015)",
    link="https://arxiv.org/abs/2604.00821",
    sliceable=True,
    factorize=factorize,
    parameters=(RIDGE.starting_at(1e-3), CENTRE),
    gradients=lambda settings: True,
)
