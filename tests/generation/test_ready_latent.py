"""A model whose cache holds latents is made ready like any other, and still stores latents only."""

import pytest
import torch

from lowrank_core.generation.decoder import Decoder
from lowrank_core.generation.ready import Form, ready
from tests.kv.models import SUPPORTED, latent_copy, model_of

IDS = torch.arange(3, 15)[None]


@pytest.mark.parametrize("family", SUPPORTED)
def test_latents_stay_latents(family: str) -> None:
    plain = latent_copy(model_of(family), 0.5)
    decoders = [Decoder(m, 12) for m in (plain, ready(plain, form=Form(joined=True)))]
    for start, end in ((0, 7), *((i, i + 1) for i in range(7, 12))):
        wanted, found = (d.run(IDS[:, start:end]) for d in decoders)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert decoders[0].kv_bytes == decoders[1].kv_bytes
