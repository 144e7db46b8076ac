"""Where things lie and what is assumed when nobody says otherwise."""

import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DEMO_MODEL = ASSETS / "demo_model"
BUNDLED_STUDY = ASSETS / "study"
TEXTS_FOLDER = ASSETS / "texts"
LESSONS_FOLDER = ASSETS / "lessons"

CALIBRATION_WINDOWS = 128
PROBE_WINDOWS = 32  # of the calibration windows, the first ones, that a sensitivity point is measured on
GRADIENT_WINDOWS = 16  # of the calibration windows, the first ones, that go backward
WALK_BATCH = 8  # windows at a time in the anchored walk
EVALUATION_WINDOWS = 64
FACTORS_HELD = 2**30  # bytes of finished factors a workbench keeps for slicing
CPU_WINDOW, GPU_WINDOW = 256, 2048
CANDIDATES = tuple(k / 10 for k in range(1, 10))  # kept shares a site is measured at
SEED = 0
COMPARED = ("svd", "asvd-0", "asvd-i", "nsvd-i", "two-sided")  # methods a picture shows beside the chosen one
HUB_TEXT_BYTES = 2_000_000  # of a data set on the Hub, how much text is fetched


def cache_folder() -> Path:
    """The folder of the user's store: `LOWRANK_CACHE`, else the platform's cache folder."""
    if folder := os.environ.get("LOWRANK_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lowrank-explorer"
