"""The figures, from synthetic values."""
