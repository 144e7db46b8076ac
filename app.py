"""Start the studio: `python app.py [--host H] [--port P] [--public]`."""

import argparse

from lowrank_core.ui.build import launch
from lowrank_core.ui.host import host_here

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Lowrank Explorer: see what low-rank compression does to a language model."
    )
    parser.add_argument("--host", default=None, help="address to serve on (default: this machine only; all on Spaces)")
    parser.add_argument("--port", type=int, default=None, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--public",
        action="store_true",
        help="serve strangers: no local folders or files, bounded models, texts and replies, one job at a time",
    )
    options = parser.parse_args()
    launch(options.host, options.port, host=host_here(options.public))
