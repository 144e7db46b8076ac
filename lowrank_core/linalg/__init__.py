"""Factorizations in float64: singular values, whitening without a Cholesky factor, output errors of every rank."""

from .factorizations import (
    balanced,
    balanced_svd,
    check_finite,
    completed,
    corner_sums,
    cross_error_tail,
    output_error_tail,
    projection_factors,
    reduced,
    ridged,
    root_of,
    scaled_svd,
    singular_values,
    square_root,
    stable_rank,
    tail_sums,
)
from .interpolative import chosen_columns, interpolative

__all__ = [
    "balanced",
    "balanced_svd",
    "check_finite",
    "chosen_columns",
    "completed",
    "corner_sums",
    "cross_error_tail",
    "interpolative",
    "output_error_tail",
    "projection_factors",
    "reduced",
    "ridged",
    "root_of",
    "scaled_svd",
    "singular_values",
    "square_root",
    "stable_rank",
    "tail_sums",
]
