"""The first line of the page: its title, the recipe to take along, and what the pages are for."""

from __future__ import annotations

import gradio as gr

from .front import TITLE

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


def layout() -> gr.Button:
    """The line; returns its Copy recipe."""
    with gr.Row(elem_id="head"):
        gr.HTML(HELP, padding=False, elem_id="title")
        return gr.Button("Copy recipe", size="sm", elem_id="copy-recipe", elem_classes="small")


def connect(copy: gr.Button, recipe: gr.Code) -> None:
    """A click copies the recipe's YAML; where the browser forbids that, it is saved as a file."""
    copy.click(None, recipe, None, js=COPIED, show_progress="hidden", api_visibility="private")
