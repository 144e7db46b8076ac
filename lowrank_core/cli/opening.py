"""From names on the command line to a model and its study: cheap checks first, torch after them."""

from typing import TYPE_CHECKING, Any

from ..calibration.texts import read_text
from ..errors import ModelUnsupported
from ..models.where import ModelFolder, locate
from ..study.recipe import Recipe, recipe_of
from .relay import note

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..study.build import Workbench


def recipe_from(flags: dict[str, Any]) -> Recipe:
    """The Recipe of the flags that are set; the others keep the recipe's own defaults."""
    return recipe_of({name: value for name, value in flags.items() if value is not None})


def say_text() -> None:
    """Say on stderr which calibration text is taken where none was given."""
    note(f"Calibration text: {Recipe.model_fields['text'].default}, the bundled one; --calibrate TEXT takes another.")


def dense_folder(model: str) -> ModelFolder:
    """The folder of a model that may be compressed; ModelUnsupported where it already is."""
    folder = locate(model)
    if folder.compressed is not None:
        raise ModelUnsupported(f"{model!r} is already compressed.", "Take the dense model it was made from.")
    return folder


def open_model(name: str, device: str | None, dtype: str | None) -> "LoadedModel":
    """The model, loaded without transformers' bars and warnings."""
    locate(name)
    quiet()
    from ..models.loading import load_model

    return load_model(name, device, dtype)


def open_bench(recipe: Recipe, device: str | None, dtype: str | None) -> "Workbench":
    """The Workbench of a recipe's model and text; a name that means nothing is found out before torch is loaded."""
    locate(recipe.model)
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
