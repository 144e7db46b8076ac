"""The model card that goes with a saved folder."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.register import METHOD
from ..models.where import DEMO

FIRST_COLUMNS = ("text", "perplexity", "nll", "tokens", "windows", "window", "dtype", "device", "seed")
WHAT = {
    "factored": "products of two thin factors",
    "pivoted": "of low rank, kept as some of their rows and the coefficients of the others",
    "merged": "of low rank, multiplied out to dense weights",
}
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Sizes:
    """What the model weighed before and after; parameters and bytes are the whole model's."""

    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    ratio: float | None  # achieved: share of the sites' parameters removed; None where no site was looked at


def card(name: str, base: str, ranks: Mapping[str, int | None], recipe: Mapping[str, Any], sizes: Sizes,
         storage: str = "factored", measurements: Iterable[Mapping[str, Any]] = (),
         notes: Mapping[str, str] | None = None, licence: Mapping[str, str] | None = None) -> str:
    """The README.md of a compressed model's folder `name`, in Markdown.

    `notes`: site → what stands beside its rank; `licence`: the base model's, as the front matter of its card has it.
    """
    factored = sum(r is not None for r in ranks.values())
    parts = [
        _front_matter(base, licence or {}),
        f"# {name}",
        f"Low-rank version of `{base}`: {factored} of {len(ranks)} linear layers are {WHAT[storage]}.",
        _facts(base, recipe, sizes, storage, licence or {}),
        "## Load it", _loading(name, storage),
        "## Measured", _measured(measurements),
        "## Ranks", _ranks(ranks, notes or {}),
        "This is an adaptation of the base model: its licence and its limits hold here, too.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(base: str, licence: Mapping[str, str]) -> str:
    lines = ["library_name: transformers", "pipeline_tag: text-generation", f"tags: [{METHOD}, svd, compression]"]
    if HUB_ID.fullmatch(base) and not Path(base).exists():  # the hub takes its own ids only, not local paths
        lines.append(f"base_model: {base}")
    lines += [f"{key}: {json.dumps(value)}" for key, value in licence.items()]
    return "\n".join(["---", *lines, "---"])


def _facts(base: str, recipe: Mapping[str, Any], sizes: Sizes, storage: str,
           licence: Mapping[str, str]) -> str:
    saved = 1 - sizes.bytes_after / max(sizes.bytes_before, 1)
    rows = [
        ("base model", "the one bundled with the Lowrank Explorer" if base == DEMO else base),
        ("licence of the base model", licence.get("license_name") or licence.get("license", "not recorded")),
        ("method", recipe.get("method", "not recorded")),
        ("allocator", recipe.get("allocator", "not recorded")),
        ("calibration", _calibration(recipe)),
        ("ratio asked (share of the layers' parameters removed)", _percent(recipe.get("ratio"))),
        ("ratio achieved", _percent(sizes.ratio)),
        ("parameters", f"{sizes.parameters_before:,} → {sizes.parameters_after:,}"),
        ("bytes of weights", f"{sizes.bytes_before:,} → {sizes.bytes_after:,} ({saved:.1%} saved)"),
        ("storage", storage),
    ]
    if recipe.get("kv_ratio"):
        rows.append(("KV cache: share of each token's keys and values not stored", _percent(recipe["kv_ratio"])))
    return _table(("", ""), rows)


def _calibration(recipe: Mapping[str, Any]) -> str:
    if "text" not in recipe:
        return "not recorded"
    window = recipe.get("window") or "default"
    return f"{recipe['text']}, {recipe.get('windows', '?')} windows of {window} tokens, seed {recipe.get('seed', '?')}"


def loading_code(name: str, storage: str) -> str:
    """The Python lines that load a saved folder, or a repository on the Hub, by its name."""
    lines = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({json.dumps(name)})",
        f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(name)})",
    ]
    ours = "import lowrank_core  # teaches transformers the format"
    return "\n".join(lines if storage == "merged" else [ours, *lines])


def _loading(name: str, storage: str) -> str:
    code = f"```python\n{loading_code(name, storage)}\n```\n"
    if storage == "merged":
        note = (
            "An ordinary dense checkpoint: it runs wherever the base model does (vLLM, llama.cpp, Ollama, …), needs no "
            "other library, and saves no bytes."
        )
        return f"{code}\n{note}"
    return "\n".join([
        code,
        "`lowrank_core` is the library of the Lowrank Explorer: run this in its folder, or with that on PYTHONPATH. "
        "The import teaches transformers this format. A process without it stops with a size mismatch, on purpose: "
        "the alternative would be invented weights. vLLM, llama.cpp, Ollama and other engines do not read it: "
        "`python -m lowrank_core export FOLDER --merged OUT` writes an ordinary dense checkpoint for them, as large "
        "as the base model.",
    ])


def _measured(measurements: Iterable[Mapping[str, Any]]) -> str:
    rows = [_flat(m) for m in measurements]
    if not rows:
        return "Nothing was measured when this model was saved."
    found = list(dict.fromkeys(k for row in rows for k in row))
    columns = [c for c in found if c not in FIRST_COLUMNS]
    columns = [c for c in FIRST_COLUMNS if c in found] + columns
    return _table(columns, [[row.get(c, "") for c in columns] for row in rows])


def _flat(measurement: Mapping[str, Any]) -> dict[str, Any]:
    """The measurement's values with those of its setting beside them; long lists are left out."""
    flat: dict[str, Any] = {}
    for key, value in measurement.items():
        if isinstance(value, Mapping):
            flat |= _flat(value)
        elif not isinstance(value, list | tuple):
            flat[key] = value
    return flat


def _ranks(ranks: Mapping[str, int | None], notes: Mapping[str, str]) -> str:
    header = ("layer", "rank", "") if notes else ("layer", "rank")
    rows = [
        (f"`{path}`", "dense" if rank is None else rank, notes.get(path, ""))[: len(header)]
        for path, rank in ranks.items()
    ]
    table = _table(header, rows)
    return f"<details><summary>Rank of each layer</summary>\n\n{table}\n\n</details>"


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(v) for v in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(ratio: Any) -> str:
    return f"{ratio:.1%}" if isinstance(ratio, int | float) else "not recorded"
