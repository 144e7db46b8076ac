"""Start the studio: `python app.py [--host H] [--port P]`."""

import argparse

from lowrank_core.ui.build import launch

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Lowrank Explorer: see what low-rank compression does to a language model."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on")
    parser.add_argument("--port", type=int, default=None, help="port (default: the first free one from 7860)")
    options = parser.parse_args()
    launch(options.host, options.port)
