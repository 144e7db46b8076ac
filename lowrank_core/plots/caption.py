"""The sentence under each plot, computed from what it shows."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..types import ChannelSummary, Plan, Site, Spectrum
from .channels import map_after

INPUT_OF = {
    "qkv": "the q, k and v projections",
    "o": "o_proj",
    "gate_up": "the gate and up projections",
    "down": "down_proj",
}


def _input_of(group: str) -> str:
    block, _, name = group.partition(".")
    return f"block {block}'s {INPUT_OF.get(name, name).removeprefix('the ')}"


def outlier_sentence(summaries: Sequence[ChannelSummary]) -> str:
    """The loudest input group in one sentence."""
    s = max(summaries, key=lambda s: s.outlier_ratio)
    loud = int((s.rms > s.rms.max() / 2).sum())
    if loud == 1:
        what = (
            f"1 of {len(s.rms)} channels entering {_input_of(s.group)} is {s.outlier_ratio:.3g} × "
            "louder than the median."
        )
    else:
        least = np.sort(s.rms)[-loud] / np.median(s.rms)
        what = (
            f"{loud} of {len(s.rms)} channels entering {_input_of(s.group)} are {least:.2g} to {s.outlier_ratio:.2g} × "
            "louder than the median."
        )
    return f"{what} Plain SVD does not know that."


def map_caption(summaries: Sequence[ChannelSummary]) -> str:
    """How the outlier ratios are spread over the inputs."""
    ratios = sorted(s.outlier_ratio for s in summaries)
    return (
        f"Brightest: {_input_of(max(summaries, key=lambda s: s.outlier_ratio).group)}, {ratios[-1]:.3g} ×; half of the "
        f"{len(ratios)} inputs stay below {ratios[len(ratios) // 2]:.3g} ×. A channel is one number of a layer's "
        "input. Click a cell to look into it."
    )


def token_caption(summary: ChannelSummary, alpha: float | None = None) -> str:
    """What the token picture shows, and where it is brightest; `alpha`: after ASVD's scaling, as in the picture."""
    shown = map_after(summary, alpha)
    tokens, channels = shown.shape
    at, channel = np.unravel_index(shown.argmax(), shown.shape)
    return (
        f"The first {tokens} tokens, and the {channels} channels that are loudest at one of them. A bright column is "
        f"loud at every token, a bright cell at one: brightest is {summary.map_tokens[at]!r} in channel "
        f"{summary.map_channels[channel]}."
    )


def scaled_caption(before: float, after: float) -> str:
    """What ASVD's scaling leaves of an outlier."""
    return f"Scaling leaves the loudest channel {after:.3g} × the median instead of {before:.3g} ×."


def energy_caption(spectra: Sequence[Spectrum], labels: Mapping[str, str]) -> str:
    """How few singular values hold 90 % of the energy, as plain SVD and as whitening see the layer."""
    first = {s.method: int(np.searchsorted(s.energy_kept, 0.9)) for s in spectra}
    known = [m for m in ("svd", "asvd-0", "asvd-i", "two-sided") if m in first]
    said = ", ".join(f"{first[m]} for {labels[m]}" for m in known)
    return f"90 % of the energy, each in its own metric, needs this many of {len(spectra[0].sigma)} values: {said}."


def channel_caption(summary: ChannelSummary) -> str:
    """The loudest channel of an input group."""
    top = summary.top_channel
    return (
        f"Channel {top} of {len(summary.rms)} is {summary.outlier_ratio:.3g} × the median and carries "
        f"{100 * summary.energy_share[top]:.3g} % of the energy over {summary.tokens:,} tokens."
    )


def spectrum_caption(spectra: Sequence[Spectrum], labels: Mapping[str, str], rank: int | None) -> str:
    """Which method loses least at a rank, and what plain SVD loses there."""
    if rank is None or not spectra:
        return "Dense: nothing is lost."
    errors = {s.method: float(np.interp(rank, s.ranks, s.output_error)) / max(s.energy, 1e-30) for s in spectra}
    best = min(errors, key=errors.get)
    plain = f" {labels['svd']} loses {100 * errors['svd']:.3g} %." if "svd" in errors and best != "svd" else ""
    return (
        f"At rank {rank}, {labels[best]} loses {100 * errors[best]:.3g} % of the output's energy on the calibration "
        f"text.{plain}"
    )


def sensitivity_caption(measured: int, total: int) -> str:
    """How much of the table is measured."""
    many = f"{measured} of {total}" if measured < total else f"All {total}"
    how = "predictions from spectra are dashed and hollow"
    return f"{many} points measured (solid); {how}. Losses below 10⁻⁵ are drawn at it."


def plan_caption(plan: Plan, sites: Sequence[Site]) -> str:
    """What the plan leaves."""
    dense = sum(plan.ranks[s.path] is None for s in sites)
    return (
        f"{dense} of {len(sites)} stay dense (framed); "
        f"{100 * plan.ratio(tuple(sites)):.3g} % of their parameters are removed."
    )


def tradeoff_caption(measured: int, how: str) -> str:
    """How many of the points are measurements; `how`: the allocator and storage of the predictions."""
    return (
        f"Dashed: predicted from spectra ({how}). Solid: {measured} plan{'' if measured == 1 else 's'} "
        "measured on the bundled held-out text, each as its label says. Star: the dense model."
    )
