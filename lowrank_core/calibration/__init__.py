"""Texts, windows, and the statistics that a pass over them leaves behind."""
