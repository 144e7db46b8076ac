"""The command line: one file per command, one edge (`relay.py`). torch is loaded inside the commands that need it."""

from .app import main

__all__ = ["main"]
