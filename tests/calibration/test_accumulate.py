"""Sums over tokens: two halves merged equal one pass."""

import pytest
import torch

from lowrank_core.calibration.accumulate import Moments, TokenMap, summary
from lowrank_core.errors import NonFinite


def drawn(tokens: int = 90, channels: int = 7) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(tokens, channels, generator=g, dtype=torch.float64) * torch.logspace(
        -2, 2, channels, dtype=torch.float64
    )


def moments(*parts: torch.Tensor) -> Moments:
    found = Moments.zeros(parts[0].shape[-1], torch.device("cpu"))
    for part in parts:
        found.add(part, "0.qkv")
    return found


def same(a: Moments, b: Moments) -> None:
    assert a.tokens == b.tokens
    for name in ("gram", "absolute", "fourth", "largest", "plain"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-12, atol=1e-12)


def test_merged_halves_equal_one_pass() -> None:
    x = drawn()
    for cut in (1, 30, 89):
        same(moments(x[:cut]).merge(moments(x[cut:])), moments(x))
        same(moments(x[:cut], x[cut:]), moments(x))
    same(moments(x[:10]).merge(moments(x[10:50])).merge(moments(x[50:])), moments(x))
    same(Moments.zeros(7, torch.device("cpu")).merge(moments(x)), moments(x))


def test_merging_changes_neither_half() -> None:
    a, b = moments(drawn()[:40]), moments(drawn()[40:])
    before = a.gram.clone()
    a.merge(b)
    assert torch.equal(a.gram, before) and a.tokens == 40


def test_batches_of_windows_are_tokens() -> None:
    same(moments(drawn().view(3, 30, 7)), moments(drawn()))


def test_statistics_by_definition() -> None:
    x = drawn()
    found = moments(x).statistics()
    torch.testing.assert_close(found.gram, torch.einsum("ti,tj->ij", x, x) / 90, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.abs_mean, x.abs().mean(0))
    torch.testing.assert_close(found.abs_max, x.abs().amax(0))
    torch.testing.assert_close(found.mean, x.mean(0))
    assert found.tokens == 90 and found.gram.dtype == torch.float64


def test_low_precision_inputs_are_summed_in_float64() -> None:
    x = drawn().to(torch.bfloat16)
    torch.testing.assert_close(moments(x).gram, x.double().T @ x.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(wrong: float) -> None:
    x = drawn()
    x[3, 2] = wrong
    with pytest.raises(NonFinite, match=r"0\.qkv"):
        moments(x)


def test_summary_by_definition() -> None:
    x = drawn()
    shown = TokenMap(x[:20].abs().float(), tuple(f"t{i}" for i in range(20)))
    found = summary("0.qkv", moments(x), shown, channels=3)
    torch.testing.assert_close(torch.from_numpy(found.rms).double(), x.square().mean(0).sqrt(), rtol=1e-6, atol=1e-9)
    kurtosis = x.pow(4).mean(0) / x.square().mean(0).square()
    torch.testing.assert_close(torch.from_numpy(found.kurtosis).double(), kurtosis, rtol=1e-6, atol=1e-6)
    assert found.top_channel == 6 and found.outlier_ratio == pytest.approx(float(found.rms[6] / sorted(found.rms)[3]))
    assert found.energy_share.sum() == pytest.approx(1)
    assert (
        found.map_channels.tolist() == [6, 5, 4] and found.map_values.shape == (20, 3) and len(found.map_tokens) == 20
    )


def test_dead_channels_summarize_to_numbers() -> None:
    x = torch.zeros(10, 4)
    found = summary("0.qkv", moments(x), TokenMap(x, ("a",) * 10))
    assert all(
        v == v and abs(v) < float("inf")
        for v in (*found.rms, *found.kurtosis, found.outlier_ratio, *found.energy_share)
    )
