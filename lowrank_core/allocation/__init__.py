"""Rules from one number to a rank per site: one file each, one line in ALLOCATORS."""

from . import strs, uniform, waterfill
from .base import Allocator, Problem, break_even, check_ratio, spend_remainder

ALLOCATORS: dict[str, Allocator] = {a.ALLOCATOR.key: a.ALLOCATOR for a in (uniform, strs, waterfill)}

__all__ = ["ALLOCATORS", "Allocator", "Problem", "break_even", "check_ratio", "spend_remainder"]
