"""A compressed model as an ordinary transformers folder: written by `save`, loaded through `register`.

Nothing is imported here: `register` is part of `import lowrank_core`, which stays free of torch.
"""
