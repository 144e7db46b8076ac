"""From names on the command line to a model and its study: cheap checks first, torch after them."""

from typing import TYPE_CHECKING, Any

from ..calibration.texts import read_text
from ..errors import ModelUnsupported
from ..models.where import ModelFolder, cached, hub_id, locate
from ..study.recipe import Recipe, recipe_of
from .relay import note, relay

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..study.build import Workbench


def recipe_from(flags: dict[str, Any]) -> Recipe:
    """The Recipe of the flags that are set; the others keep the recipe's own defaults."""
    return recipe_of({name: value for name, value in flags.items() if value is not None})


def say_text() -> None:
    """Say on stderr which calibration text is taken where none was given."""
    note(f"Calibration text: {Recipe.model_fields['text'].default}, the bundled one; --calibrate TEXT takes another.")


def brought(model: str, device: str | None = None) -> ModelFolder:
    """The folder of a model; one on the Hub that is not in its cache is downloaded, with a bar, and sizes checked."""
    hub = hub_id(model)
    if hub is not None and cached(hub) is None:
        from ..models.hub import bring
        from ..models.loading import choose_device

        relay(bring.steps(model, device=str(choose_device(device))))
    return locate(model)


def dense_folder(model: str, device: str | None = None) -> ModelFolder:
    """The folder of a model that may be compressed; ModelUnsupported where it already is."""
    folder = brought(model, device)
    if folder.compressed is not None:
        raise ModelUnsupported(f"{model!r} is already compressed.", "Take the dense model it was made from.")
    return folder


def open_model(name: str, device: str | None, dtype: str | None) -> "LoadedModel":
    """The model, loaded without transformers' bars and warnings."""
    brought(name, device)
    quiet()
    from ..models.loading import load_model

    return load_model(name, device, dtype)


def open_bench(recipe: Recipe, device: str | None, dtype: str | None) -> "Workbench":
    """The Workbench of a recipe's model and text; a name that means nothing is found out before torch is loaded."""
    brought(recipe.model, device)
    read_text(recipe.text)
    if "text" not in recipe.model_fields_set:
        say_text()
    quiet()
    from ..study.compress import open_workbench

    bench = open_workbench(recipe, device=device, dtype=dtype)
    if bench.loaded.anatomy.note:
        note(bench.loaded.anatomy.note)
    return bench


def quiet() -> None:
    """Silence transformers' progress bars and warnings: the command line says what there is to say."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
