"""The loaded model as the last lesson reads it: the bundled one, from its shipped study."""

import pytest

from lowrank_core.lessons import Layers
from lowrank_core.lessons.bundled import bundled
from lowrank_core.settings import COMPARED


@pytest.fixture(scope="session")
def layers() -> Layers:
    study = bundled().study

    def spectra(path: str) -> list:
        return [study.spectrum(path, method) for method in COMPARED]

    return Layers(study.body.sites, lambda: "model.layers.0.mlp.down_proj", spectra, "the bundled text")
