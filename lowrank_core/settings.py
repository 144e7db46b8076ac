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
PRICED_WINDOWS = 32  # of the calibration windows, the first ones, that go backward to price what a cut costs
DRIFT_WINDOWS = 64  # and those that go backward with their own next tokens
WALK_BATCH = 8  # windows at a time in the anchored walk
EVALUATION_WINDOWS = 64
STATES_HELD = 2**26  # bytes of hidden states that a reverse sweep keeps in memory
FACTORS_HELD = 2**30  # bytes of finished factors a workbench keeps for slicing
CPU_WINDOW, GPU_WINDOW = 256, 2048
CANDIDATES = tuple(k / 10 for k in range(1, 10))  # kept shares a site is measured at
SEED = 0
DRIFT_TRUST = 16000  # tokens after which half of a cut's first-order loss is believed of a whole plan
COMPARED = ("svd", "asvd-0", "asvd-i", "nsvd-i", "two-sided")  # methods a picture shows beside the chosen one
HUB_STALL = 30.0  # seconds without a byte after which a download is given up
HUB_ANSWER = 4.0  # seconds the Hub has for an answer
WORKING_ROOM = 1.3  # memory a model is worked on in, over that of its weights
HUB_TEXT_BYTES = 2_000_000  # of a data set on the Hub, how much text is fetched


def model_limit() -> int | None:
    """The most bytes of weights a model may have: `LOWRANK_MODEL_LIMIT`, in GB; None where nothing is set."""
    said = os.environ.get("LOWRANK_MODEL_LIMIT")
    return int(float(said) * 1e9) if said else None


def granted_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Cores' worth of time that a container may use, where that is less than it sees; None where nothing is known.

    Threads beyond that are stopped in mid-product: torch starts one for every core it sees.
    """
    try:
        most, period = quota.read_text().split()
        cores = max(1, int(most) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return cores if cores < (os.cpu_count() or 1) else None


def cache_folder() -> Path:
    """The folder of the user's store: `LOWRANK_CACHE`, else the platform's cache folder."""
    if folder := os.environ.get("LOWRANK_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lowrank-explorer"


def resident_limit() -> int:
    """Bytes of models kept in memory by a studio: `LOWRANK_RESIDENT`, else half of what the machine has."""
    if limit := os.environ.get("LOWRANK_RESIDENT"):
        return int(limit)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):  # a system without sysconf
        return 2**33
