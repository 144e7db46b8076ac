"""Benchmarks: methods, allocators and texts side by side, computed through the same study as everything else."""
