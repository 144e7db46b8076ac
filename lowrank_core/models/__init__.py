"""Models: what they are called, how they are loaded, where their sites lie, and how sites are exchanged.

`where` needs no torch; the other files load it when they are imported.
"""
