"""Values → plotly figures; predicted is hollow and dashed, measured solid, and the two are never drawn alike."""

from .caption import (
    channel_caption,
    energy_caption,
    map_caption,
    outlier_sentence,
    plan_caption,
    scaled_caption,
    sensitivity_caption,
    spectrum_caption,
    token_caption,
    tradeoff_caption,
)
from .channels import channel_profile, rms_after, token_heatmap
from .latents import latent_caption, latent_curves
from .lessons import errors as lesson_errors
from .lessons import plane as lesson_plane
from .lessons import search as lesson_search
from .outliers import outlier_map
from .plan import plan_map
from .sensitivity import sensitivity_curves
from .spectrum import cut_error, spectrum
from .style import nothing
from .tradeoff import tradeoff

__all__ = [
    "channel_caption",
    "channel_profile",
    "cut_error",
    "latent_caption",
    "latent_curves",
    "lesson_errors",
    "lesson_plane",
    "lesson_search",
    "energy_caption",
    "map_caption",
    "nothing",
    "outlier_map",
    "outlier_sentence",
    "plan_caption",
    "plan_map",
    "rms_after",
    "scaled_caption",
    "sensitivity_caption",
    "sensitivity_curves",
    "spectrum",
    "spectrum_caption",
    "token_caption",
    "token_heatmap",
    "tradeoff",
    "tradeoff_caption",
]
