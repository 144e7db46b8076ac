"""One unit's factorization and the modules made of it, checked on both sides."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..linalg import check_finite
from ..methods import METHODS, Factorization, Statistics
from ..models.surgery import modules_of
from ..types import Unit

if TYPE_CHECKING:
    from .build import Workbench


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


def unit_modules(bench: "Workbench", unit: Unit, rank: int) -> dict[str, nn.Module]:
    """Site path → the module that stands for it at a rank, in the unit's storage and the model's dtype."""
    cut = bench.factors(unit, rank)
    shift = bench.bias_shift(unit, cut)
    try:
        made = modules_of(bench.loaded.model, unit, cut.left, cut.right, shift)
    except NonFinite as error:
        raise NonFinite(f"{unit.path}: {error.message}", error.hint) from error
    if not METHODS[unit.method].sliceable:  # sliceable factors were checked in this dtype when they were made
        for path, module in made.items():
            for part in module.parameters():
                check_finite(part, f"The compressed layer {path}, in {bench.loaded.dtype},")
    return made
