"""The first page is true, complete, and needs no torch."""

import subprocess
import sys

import numpy as np

from lowrank_core import plots
from lowrank_core.methods import METHODS
from lowrank_core.settings import COMPARED
from lowrank_core.study.recipe import Recipe
from lowrank_core.ui import drawing, kv_squeeze, see, see_handlers

FRESH = """
import sys
from lowrank_core.ui.build import build
build()
assert 'torch' not in sys.modules and 'transformers' not in sys.modules, 'the first page waits for torch'
"""


def test_first_page_is_built_without_torch():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FRESH], check=True, timeout=120)


def test_bundled_study_is_complete(house):
    view = house.view(Recipe())
    assert view.ready, "assets/study does not fit the bundled model, text or code versions: rebuild it"
    for method in METHODS:
        other = house.view(Recipe(method=method))
        assert other.spectra and set(other.spectra) == {u.path for u in other.units}
    assert sum(map(len, view.points.values())) == 9 * len(view.body.sites), (
        "the default method's table is measured in full"
    )


def test_every_caption_says_how_its_numbers_came(house):
    view = house.view(Recipe(kv_ratio=0.5))
    _, _, first, _, *below = see.whole(view)
    shown = drawing.draw(view, house.visit("s"), view.plan(), view.points, None, "")
    said = [first, *below[1::2], shown.captions[0], kv_squeeze.draw(view).caption]
    assert len(said) == 6 and all(str(view.setting) in caption for caption in said), said
    assert view.setting.windows == view.recipe.windows


def test_the_sentence_says_what_the_data_say(house):
    view = house.view(Recipe())
    loudest = max(view.summaries, key=lambda s: s.rms.max() / np.median(s.rms))
    sentence = plots.outlier_sentence(view.summaries)
    assert f"{loudest.outlier_ratio:.3g} ×" in sentence and f"of {len(loudest.rms)} channels" in sentence
    assert f"block {loudest.group.split('.')[0]}'s" in sentence
    assert view.body.site(see_handlers.loudest_site(view)).group == loudest.group


def test_see_fills_every_output(house):
    view = house.view(Recipe())
    for how in see.VIEWS:
        assert all(value is not None for value in see.whole(view, how))
    table = see_handlers.readout(view.body.sites[0], view.site_spectra(view.body.sites[0].path), 0.5)
    assert all(METHODS[m].label in table for m in COMPARED)
