"""One unit's factorization, checked on both sides."""

import torch
from torch import Tensor

from ..errors import NonFinite
from ..linalg import check_finite
from ..methods import METHODS, Factorization, Statistics
from ..types import Unit


def factorize_unit(unit: Unit, weight: Tensor, statistics: Statistics) -> Factorization:
    """The method's Factorization; NonFinite, naming the unit, for what is not finite going in or coming out."""
    check_finite(weight, f"The weight of {unit.path}")
    try:
        made = METHODS[unit.method].factorize(weight, statistics, unit.settings)
    except torch.linalg.LinAlgError as error:
        raise NonFinite(
            f"{unit.path} could not be factored: {error}.", "Check its weights and the calibration text."
        ) from error
    for part in (made.left, made.right, made.sigma, made.output_error, made.loss):
        if part is not None:
            check_finite(part, f"The factorization of {unit.path}")
    return made
