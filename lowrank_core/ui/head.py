"""The head of the page: its title, the recipe to take along, what is loaded and what runs, and how to stop it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from .front import TITLE
from .house import House
from .running import IDLE

COPIED = "(recipe) => window.copyText({ text: recipe, name: 'recipe.yaml', kind: 'text/yaml', button: 'copy-recipe' })"
HELP = f"""<h1>{TITLE}</h1>
<button type="button" class="tool" popovertarget="help" aria-label="What is what">?</button>
<div id="help" popover>
<p><b>Load model</b>: the bundled one, a folder, or one of the Hugging Face Hub. All pages show what is loaded.</p>
<p><b>See</b> which channels are loud, and what each layer's spectrum lets a cut keep.
<b>Learn</b> in eight steps why that matters.</p>
<p><b>Squeeze</b>: drag the ratio. Hollow and dashed is predicted from spectra, at once; solid is measured, and
follows by itself.</p>
<p><b>Chat</b> with the dense and the compressed model side by side. <b>Measure</b> both, and take the model away.</p>
<p><b>Copy recipe</b> copies all settings as YAML:
<code>python -m lowrank_core compress MODEL --recipe FILE</code> does the same.</p>
<p>Keys: Tab and the arrows reach everything; Escape closes this.</p>
</div>"""


@dataclass(frozen=True)
class Head:
    """The components."""

    copy: gr.Button
    strip: gr.HTML  # what is loaded
    job: gr.HTML  # what runs
    stop: gr.Button


def layout(strip: str) -> Head:
    """Two lines: the title, and the strip with what is loaded."""
    with gr.Row(elem_id="head"):
        gr.HTML(HELP, padding=False, elem_id="title")
        copy = gr.Button("Copy recipe", size="sm", elem_id="copy-recipe", elem_classes="small")
    with gr.Row(elem_id="loaded"):
        loaded = gr.HTML(strip, padding=False, elem_id="strip")
        job = gr.HTML(IDLE, padding=False, elem_id="job")
        stop = gr.Button("Stop", size="sm", elem_id="job-stop", elem_classes="small")
    return Head(copy, loaded, job, stop)


def connect(head: Head, house: House, recipe: gr.Code) -> None:
    """A click copies the recipe's YAML; where the browser forbids that, it is saved as a file. Stop stops all jobs."""
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    head.copy.click(None, recipe, None, js=COPIED, **quiet)

    def stop(request: gr.Request):
        house.stop(request.session_hash)

    head.stop.click(stop, None, None, queue=False, **quiet)


def telling(house: House, handler: Callable) -> Callable:
    """The handler of a job, a generator of lists of values, with one more in each: what runs, for `Head.job`."""

    @functools.wraps(handler)
    def run(*args, **kwargs):
        session = next(a.session_hash for a in (*args, *kwargs.values()) if isinstance(a, gr.Request))
        values = []
        for values in handler(*args, **kwargs):
            yield [*values, house.jobs.line(session)]
        # the last values again, but for a file: it was handed over and is gone
        yield [*(gr.skip() if isinstance(v, gr.File) else v for v in values), house.jobs.line(session)]

    return run
