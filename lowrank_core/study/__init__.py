"""Studies: a model with its statistics, spectra and sensitivities, and the story from a text to a compressed model.

Read `compress.py` first: it tells the whole way. Files that only read results import no torch.
"""
