"""The Squeeze page: method, allocator and ratio on the left, what follows from them on the right."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ..allocation import ALLOCATORS
from ..calibration.texts import TEXTS
from ..methods import METHODS
from ..study.recipe import MEASURES, STORAGES, Recipe
from . import kv_squeeze, plot
from .choices import CHOICES, HELD_OUT, spellings
from .drawing import Shown
from .kv_squeeze import KVPart
from .see_handlers import site_choices
from .view import View

NO_SITE = ("none", "")  # in the menu of layers

DEFAULTS = Recipe(allocator="strs", measure="settled")  # the search that can be watched
SPELLINGS = {"Command line": "shell", "YAML": "yaml", "Python": "python", "Link": None}  # label → language


class Ratio(gr.Slider):
    """A slider that hands on what was typed, so that a value out of bounds gets our sentence and hint."""

    is_template = True  # for the page it is a Slider

    def preprocess(self, payload):
        return payload


@dataclass(frozen=True)
class Squeeze:
    """The page's components."""

    method: gr.Dropdown
    allocator: gr.Dropdown
    ratio: gr.Slider
    text: gr.Dropdown
    upload: gr.File
    dense_roles: gr.CheckboxGroup
    seed: gr.Number
    storage: gr.Dropdown
    walk: gr.Checkbox
    rest: gr.State
    measure: gr.Dropdown
    target: gr.Textbox
    dense_blocks: gr.CheckboxGroup
    kv_ratio: gr.Slider
    best: gr.Button
    site: gr.Dropdown
    rank: gr.Textbox
    fix: gr.Button
    free: gr.Button
    stop: gr.Button
    resume: gr.Button
    status: gr.Markdown
    readout: gr.Markdown
    plots: tuple[gr.Plot, gr.Plot, gr.Plot]
    captions: tuple[gr.Markdown, gr.Markdown, gr.Markdown]
    picked: tuple[gr.Textbox, gr.Textbox, gr.Textbox]  # clicks in the plots
    command: gr.Code
    recipe: gr.Code
    python: gr.Code
    link: gr.Code
    kv: KVPart

    @property
    def choices(self) -> list:
        """What decides a recipe, in the order of `recipe_values`."""
        return [getattr(self, name) for name in CHOICES]

    @property
    def spelled(self) -> list:
        """What `spellings` fill."""
        return [self.command, self.recipe, self.python, self.link]

    @property
    def shown(self) -> list:
        return [*self.plots, *self.captions, self.readout, self.status]


def values(shown: Shown | None, status: str) -> list:
    """Values of `Squeeze.shown`; what is not known stays as it is."""
    if shown is None:
        return [gr.skip()] * 7 + [status]
    return [shown.sensitivity, shown.plan, shown.tradeoff, *shown.captions, shown.readout, status or shown.status]


def measures(key: str) -> str:
    """What is measured of the sensitivity table, as a sentence."""
    return f"{MEASURES[key][0].upper()}{MEASURES[key][1:]}."


def layout(plan: str, said: str, view: View) -> Squeeze:
    """The page of the bundled study: what its plan is, and the status; its plots are drawn when it is first opened."""
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            ratio = Ratio(
                0.0,
                0.9,
                DEFAULTS.ratio,
                step=0.01,
                label="Ratio: share of the layers' parameters removed",
                elem_id="ratio",
            )
            readout = gr.Markdown(plan, elem_id="plan-readout")
            kv_ratio = Ratio(
                0.0,
                0.9,
                0.0,
                step=0.01,
                label="KV ratio: share of each token's keys and values not stored",
                elem_id="kv-ratio",
            )
            known = kv_squeeze.draw(view)
            kv_readout = gr.Markdown(known.readout if known else "", elem_id="kv-readout")
            status = gr.Markdown(said, elem_id="status")
            with gr.Row(elem_classes="actions"):
                stop = gr.Button("Stop", size="sm", elem_id="stop")
                resume = gr.Button("Go on", size="sm", elem_id="resume")
            method = gr.Dropdown(
                [(m.label, k) for k, m in METHODS.items()],
                value=DEFAULTS.method,
                label="Method",
                info=METHODS[DEFAULTS.method].line,
                elem_id="method",
            )
            allocator = gr.Dropdown(
                [(a.label, k) for k, a in ALLOCATORS.items()],
                value=DEFAULTS.allocator,
                label="Allocator",
                info=ALLOCATORS[DEFAULTS.allocator].line,
                elem_id="allocator",
            )
            measure = gr.Dropdown(
                [(k.capitalize(), k) for k in MEASURES],
                value=DEFAULTS.measuring,
                label="Measure",
                info=measures(DEFAULTS.measuring),
                elem_id="measure-what",
            )
            best = gr.Button("Best recipe", size="sm", elem_id="best")
            site = gr.Dropdown(
                [NO_SITE, *site_choices(view)], value="", label="Highlighted layer", elem_id="squeeze-site"
            )
            with gr.Accordion("A rank by hand, a target perplexity", open=False):
                rank = gr.Textbox(
                    label="Rank of the highlighted layer", placeholder="a number, or dense", max_lines=1, elem_id="rank"
                )
                with gr.Row(elem_classes="actions"):
                    fix = gr.Button("Keep this rank", size="sm", elem_id="rank-fix", min_width=100)
                    free = gr.Button("Free it", size="sm", elem_id="rank-free", min_width=80)
                target = gr.Textbox(
                    label="Target perplexity instead of a ratio",
                    info=f"On {HELD_OUT}: the smallest model within it is searched. Empty: the ratio holds.",
                    max_lines=1,
                    elem_id="target",
                )
            with gr.Accordion("Calibration text and more", open=False):
                text = gr.Dropdown(
                    [(t.label, k) for k, t in TEXTS.items()], value=DEFAULTS.text, label="Calibration text"
                )
                upload = gr.File(
                    label="or your own text (UTF-8)", file_types=["text", ".txt", ".md"], type="filepath", height=100
                )
                roles = gr.CheckboxGroup(sorted({s.role for s in view.body.sites}), label="Roles kept dense")
                dense_blocks = gr.CheckboxGroup(
                    sorted({s.block for s in view.body.sites}), label="Blocks kept dense", elem_id="dense-blocks"
                )
                seed = gr.Number(0, precision=0, label="Seed")
                storage = gr.Dropdown(
                    [(f"{k.capitalize()}: {STORAGES[k]}", k) for k in ("factored", "pivoted")],
                    value=DEFAULTS.storage,
                    label="Storage",
                    elem_id="storage",
                )
                walk = gr.Checkbox(
                    False,
                    label="Anchored walk",
                    info="Makes the factors block by block on what the compressed model really reads; takes a while.",
                    elem_id="walk",
                )
            with gr.Accordion("Copy recipe", open=False):
                command, recipe, python, link = (
                    gr.Code(said, language=language, label=label, interactive=False, lines=2, wrap_lines=True)
                    for said, (label, language) in zip(spellings(DEFAULTS, ""), SPELLINGS.items(), strict=True)
                )
        with gr.Column(scale=2, min_width=340):
            plots, captions, picked = [], [], []
            for letter, title in zip("EFG", ("What each layer loses", "The plan", "Trade-off"), strict=True):
                shown, caption = plot.drawn(letter, title)
                plots.append(shown)
                captions.append(caption)
                picked.append(plot.pick(shown.elem_id))
            kv = kv_squeeze.layout(view, kv_readout)
    return Squeeze(
        method,
        allocator,
        ratio,
        text,
        upload,
        roles,
        seed,
        storage,
        walk,
        gr.State({}),
        measure,
        target,
        dense_blocks,
        kv_ratio,
        best,
        site,
        rank,
        fix,
        free,
        stop,
        resume,
        status,
        readout,
        tuple(plots),
        tuple(captions),
        tuple(picked),
        command,
        recipe,
        python,
        link,
        kv,
    )
