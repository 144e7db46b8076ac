"""Rules from one number to a rank per site: one file each, one line in ALLOCATORS."""

from . import stable_rank, strs, uniform, waterfill
from .base import Allocator, Ladders, Problem, break_even, check_ratio, spend_remainder

ALLOCATORS: dict[str, Allocator] = {a.ALLOCATOR.key: a.ALLOCATOR for a in (uniform, strs, stable_rank, waterfill)}

__all__ = ["ALLOCATORS", "Allocator", "Ladders", "Problem", "break_even", "check_ratio", "spend_remainder"]
