"""Factorizations in float64: singular values, whitening without a Cholesky factor, output errors of every rank."""

from .factorizations import (
    balanced_svd,
    output_error_tail,
    projection_factors,
    scaled_svd,
    singular_values,
)

__all__ = ["balanced_svd", "output_error_tail", "projection_factors", "scaled_svd", "singular_values"]
