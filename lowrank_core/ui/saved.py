"""A model that was saved compressed, as the pages show it: what it is, its plan, the dense model it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import BadValue, LowRankError, ModelUnsupported
from ..export.record import read_record
from ..models.where import ModelFolder, hub_id, locate
from ..study.recipe import Recipe, recipe_of
from ..types import Plan, Site, Unit
from .host import Host
from .words import percent, recipe_label

PASSING = ("quantization_config", "transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Saved:
    """A compressed folder by what its configuration says; every rank, layout and recipe is the recorded one."""

    folder: ModelFolder

    @property
    def name(self) -> str:
        """The folder's own name, or its hub id."""
        return self.folder.name if hub_id(self.folder.name) else self.folder.path.resolve().name

    @property
    def said(self) -> Mapping[str, Any]:
        return self.folder.compressed

    @cached_property
    def recipe(self) -> Recipe | None:
        """The Recipe it was made by; None where none is recorded that this version knows."""
        values = self.said.get("recipe")
        try:
            return recipe_of(values) if values else None
        except (LowRankError, TypeError):
            return None

    @cached_property
    def base(self) -> str | None:
        """The dense model's name as it was recorded; None where none was."""
        if name := (self.said.get("recipe") or {}).get("model"):
            return name
        try:
            return read_record(self.folder.path).base
        except BadValue:  # only the weights and the configuration came along
            return None

    @property
    def latents(self) -> int:
        """How many blocks store latents instead of keys and values."""
        return len({path.rpartition(".")[0] for path in self.said.get("latents") or ()})

    def units(self, sites: tuple[Site, ...]) -> tuple[Unit, ...]:
        """What has one rank: a site, or those that share a right factor; stored as the folder says."""
        shared = self.said.get("shared") or {}
        plain, biased = {*(self.said.get("factored") or ()), *shared.values()}, set(self.said.get("biased") or ())
        members: dict[str, list[Site]] = {}
        for site in sites:
            members.setdefault(shared.get(site.path, site.path), []).append(site)
        pivoted = self.said.get("storage") == "pivoted"
        return tuple(
            Unit(
                tuple(of),
                storage="pivoted" if pivoted and source not in plain else "factored",
                biased=any(s.path in biased for s in of),
            )
            for source, of in members.items()
        )

    def plan(self, units: tuple[Unit, ...]) -> Plan:
        """Its ranks; a layer that is not named is dense."""
        return Plan({u.path: self.said["ranks"].get(u.sites[0].path) for u in units})

    @property
    def label(self) -> str:
        """How it was made, in a few words."""
        return recipe_label(self.recipe) if self.recipe else "made by a recipe that is not recorded"

    def dense(self, host: Host) -> ModelFolder | None:
        """The folder of the dense model it was made from, where it is at hand and this host opens it.

        A model of the same name that has another configuration is another one.
        """
        try:
            host.check_model(self.base or "")
            found = locate(self.base or "")
        except LowRankError:
            return None
        if found.compressed is not None:
            return None
        mine, its = self.folder.config, found.config
        same = all(mine[key] == its[key] for key in mine.keys() & its.keys() if key not in PASSING)
        return found if same else None

    def way_on(self, host: Host) -> str:
        """Where one goes to squeeze anew."""
        if self.dense(host):
            return f"To squeeze anew, load `{self.base}`, the dense model it was made from."
        if self.base is None:
            return "Which dense model it was made from is not recorded."
        if hub_id(self.base):
            return f"To squeeze anew, load `{self.base}`, the dense model it was made from: that downloads it."
        return f"The dense model it was made from, `{self.base}`, is not here."

    def sentence(self, host: Host, units: tuple[Unit, ...], removed: float) -> str:
        """What the folder is and what cannot be done with it, in words."""
        ranks = self.plan(units).site_ranks(units).values()
        made, cache = sum(r is not None for r in ranks), ""
        if self.latents:
            cache = f"; {self.latents} blocks store latents of keys and values"
        text = f", calibrated on {self.recipe.text}" if self.recipe else ""
        return (
            f"**{self.name}** was saved compressed: {self.label}{text}. {made} of {len(ranks)} layers are products of "
            f"low rank, {percent(removed)} of their parameters are removed{cache}. What is compressed already is not "
            f"squeezed again. {self.way_on(host)}"
        )


def saved_in(folder: ModelFolder) -> Saved | None:
    """The Saved of a folder; None for an ordinary model's."""
    return Saved(folder) if folder.compressed is not None else None


def saved_at(name: str) -> Saved | None:
    """The Saved at a model's name; None for an ordinary model, and where there is none."""
    try:
        return saved_in(locate(name))
    except LowRankError:
        return None


def made_by(recipe: Recipe) -> Recipe:
    """The recipe that made a saved model; of any other model the recipe itself."""
    own = saved_at(recipe.model)
    return own.recipe if own and own.recipe else recipe


def refuse(name: str) -> ModelUnsupported:
    """What is said where only a dense model will do."""
    own = saved_at(name)
    base = f", `{own.base}`" if own and own.base else ""
    return ModelUnsupported(f"{own.name if own else name!r} is already compressed.",
                            f"Load the dense model it was made from{base}.")  # fmt: skip
