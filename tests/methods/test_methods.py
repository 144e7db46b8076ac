"""What every method promises, asserted over the whole registry: a new entry is tested for free."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from lowrank_core.errors import BadValue
from lowrank_core.methods import METHODS, Factorization, Statistics

SHAPES = [(12, 20), (16, 16), (20, 12)]
every_method = pytest.mark.parametrize("key", METHODS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")


def statistics_of(x: torch.Tensor) -> Statistics:
    """The statistics of inputs x (N, n)."""
    return Statistics(x.T @ x / len(x), x.abs().mean(0), x.abs().amax(0), len(x))


def drawn(shape: tuple[int, int], tokens: int = 200, seed: int = 0) -> tuple[torch.Tensor, Statistics]:
    """A weight, and statistics of correlated inputs of very different loudness."""
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(*shape, dtype=torch.float64, generator=g)
    x = torch.randn(tokens, shape[1], dtype=torch.float64, generator=g)
    mix = torch.randn(shape[1], shape[1], dtype=torch.float64, generator=g) * shape[1] ** -0.5
    loudness = torch.logspace(-1, 1, shape[1], dtype=torch.float64)[torch.randperm(shape[1], generator=g)]
    return w, statistics_of(x @ mix * loudness)


def factorization(key: str, w: torch.Tensor, statistics: Statistics, **given) -> Factorization:
    return METHODS[key].factorize(w, statistics, METHODS[key].settle(given))


def output_error(w: torch.Tensor, made: Factorization, rank: int, gram: torch.Tensor) -> float:
    """tr(Δ C Δᵀ) of the cut, from its definition."""
    cut = made.cut(rank)
    rest = w - cut.left @ cut.right
    return float(torch.trace(rest @ gram @ rest.T))


def energy(w: torch.Tensor, gram: torch.Tensor) -> float:
    return float(torch.trace(w @ gram @ w.T))


def check_whole(w: torch.Tensor, made: Factorization) -> None:
    """Full rank reproduces W to 1e-8."""
    cut = made.cut(min(w.shape))
    assert (cut.left @ cut.right - w).norm() <= 1e-8 * w.norm()


@every_method
def test_an_entry_says_who_it_is(key: str) -> None:
    entry = METHODS[key]
    assert entry.key == key and entry.label and entry.paper and entry.link.startswith("https://")
    assert entry.line.endswith(".")
    assert all(p.low <= p.default <= p.high and p.line for p in entry.parameters)


@every_method
@every_shape
def test_full_rank_reproduces_the_weight(key: str, shape) -> None:
    w, statistics = drawn(shape)
    check_whole(w, factorization(key, w, statistics))


@every_method
@every_shape
def test_factors_have_their_rank_and_shape(key: str, shape) -> None:
    w, statistics = drawn(shape)
    made = factorization(key, w, statistics)
    most = min(shape)
    assert made.sigma.shape == (most,) and made.output_error.shape == (most + 1,)
    assert (made.sigma[:-1] >= made.sigma[1:] - 1e-12).all() and (made.sigma >= 0).all()
    for rank in range(most + 1):
        cut = made.cut(rank)
        assert cut.left.shape == (shape[0], rank) and cut.right.shape == (rank, shape[1])
        assert cut.left.dtype == cut.right.dtype == torch.float64


@pytest.mark.parametrize("key", [k for k, m in METHODS.items() if m.sliceable])
@every_shape
def test_output_error_is_the_error_of_every_cut(key: str, shape) -> None:
    w, statistics = drawn(shape)
    made, total = factorization(key, w, statistics), energy(w, statistics.gram)
    for rank in range(min(shape) + 1):
        assert abs(float(made.output_error[rank]) - output_error(w, made, rank, statistics.gram)) <= 1e-8 * total
    assert float(made.output_error[0]) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("key", [k for k, m in METHODS.items() if m.sliceable])
def test_sliceable_factors_are_slices(key: str) -> None:
    w, statistics = drawn((12, 20))
    made = factorization(key, w, statistics)
    full, cut = made.cut(12), made.cut(5)
    assert torch.equal(full.left[:, :5], cut.left) and torch.equal(full.right[:5], cut.right)


@every_method
@every_shape
def test_nothing_beats_asvd_i_on_the_calibration_text(key: str, shape) -> None:
    w, statistics = drawn(shape)
    best, made, total = (
        factorization("asvd-i", w, statistics),
        factorization(key, w, statistics),
        energy(w, statistics.gram),
    )
    for rank in range(1, min(shape) + 1):
        least = output_error(w, best, rank, statistics.gram)
        assert least <= output_error(w, made, rank, statistics.gram) + 1e-8 * total


def test_whitening_is_worth_it() -> None:
    w, statistics = drawn((16, 16))
    errors = {
        k: output_error(w, factorization(k, w, statistics), 6, statistics.gram) for k in ("svd", "asvd-0", "asvd-i")
    }
    assert errors["asvd-i"] < 0.9 * errors["asvd-0"] < 0.9 * errors["svd"]


@every_shape
def test_asvd_0_without_exponent_is_svd(shape) -> None:
    w, statistics = drawn(shape)
    flat, plain = factorization("asvd-0", w, statistics, alpha=0), factorization("svd", w, statistics)
    torch.testing.assert_close(flat.sigma, plain.sigma)
    for rank in (1, 5, min(shape)):
        torch.testing.assert_close(
            flat.cut(rank).left @ flat.cut(rank).right, plain.cut(rank).left @ plain.cut(rank).right
        )


@pytest.mark.parametrize("quiet", [0, 14])
def test_asvd_0_does_not_depend_on_the_unit_of_the_inputs(quiet: int) -> None:
    """Also where most channels are dead: the floor is relative, never absolute (METHODS §1)."""
    w, statistics = drawn((12, 20))
    x = torch.randn(100, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * torch.arange(1, 21)
    x[:, :quiet] = 0
    loud, faint = (factorization("asvd-0", w, statistics_of(x * unit)).cut(5) for unit in (1.0, 1e-4))
    torch.testing.assert_close(loud.left @ loud.right, faint.left @ faint.right, rtol=1e-8, atol=1e-8)


@every_shape
def test_nsvd_with_the_whole_share_is_asvd_i(shape) -> None:
    w, statistics = drawn(shape)
    nested, outer = factorization("nsvd-i", w, statistics, share=1), factorization("asvd-i", w, statistics)
    for rank in range(min(shape) + 1):
        assert torch.equal(nested.cut(rank).left, outer.cut(rank).left)
        assert torch.equal(nested.cut(rank).right, outer.cut(rank).right)


@every_shape
def test_nsvd_without_share_is_svd(shape) -> None:
    w, statistics = drawn(shape)
    nested, plain = factorization("nsvd-i", w, statistics, share=0).cut(5), factorization("svd", w, statistics).cut(5)
    torch.testing.assert_close(nested.left @ nested.right, plain.left @ plain.right)


def test_nsvd_spends_what_asvd_i_leaves_on_the_weight_itself() -> None:
    w, statistics = drawn((16, 16))
    nested, outer = factorization("nsvd-i", w, statistics, share=0.5), factorization("asvd-i", w, statistics)

    def weight_error(made: Factorization) -> float:
        cut = made.cut(8)
        return float((w - cut.left @ cut.right).norm())

    assert weight_error(nested) < weight_error(outer)


@every_method
def test_parameters_stay_in_their_range(key: str) -> None:
    entry = METHODS[key]
    assert entry.settle() == {p.name: p.default for p in entry.parameters}
    with pytest.raises(BadValue, match="no parameter"):
        entry.settle({"colour": 1})
    for p in entry.parameters:
        assert entry.settle({p.name: p.high})[p.name] == p.high
        for wrong in (p.low - 0.01, p.high + 0.01, float("nan"), float("inf"), "many", None):
            with pytest.raises(BadValue, match=p.name):
                entry.settle({p.name: wrong})


# --- whatever the inputs look like ----------------------------------------------------------------------------


@st.composite
def weights_and_inputs(draw) -> tuple[torch.Tensor, Statistics]:
    """Any small weight, with inputs that are regular, few, partly dead, low-rank, all zero, or led by one channel."""
    m, n = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    g = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    kind = draw(st.sampled_from(["regular", "few", "dead", "flat", "zero", "loud", "silent weight"]))
    w = torch.randn(m, n, dtype=torch.float64, generator=g)
    x = torch.randn(draw(st.integers(1, n)) if kind == "few" else 30, n, dtype=torch.float64, generator=g)
    if kind == "dead":
        x[:, torch.randperm(n, generator=g)[: draw(st.integers(1, n))]] = 0
    if kind == "flat":
        rank = draw(st.integers(1, n))
        x = x[:, :rank] @ torch.randn(rank, n, dtype=torch.float64, generator=g)
    if kind == "zero":
        x = torch.zeros_like(x)
    if kind == "loud":
        x[:, draw(st.integers(0, n - 1))] *= 1e6
    if kind == "silent weight":
        w[draw(st.integers(0, m - 1)) :] = 0
    return w, statistics_of(x)


@every_method
@given(case=weights_and_inputs())
def test_no_input_breaks_a_method(key: str, case) -> None:
    w, statistics = case
    made = factorization(key, w, statistics)
    for rank in range(min(w.shape) + 1):
        cut = made.cut(rank)
        assert torch.isfinite(cut.left).all() and torch.isfinite(cut.right).all()
    assert torch.isfinite(made.sigma).all() and torch.isfinite(made.output_error).all()
    assert (made.output_error[:-1] >= made.output_error[1:]).all() and made.output_error[-1] >= 0
    check_whole(w, made)


@given(case=weights_and_inputs())
def test_asvd_i_stays_the_optimum(case) -> None:
    w, statistics = case
    best, total = factorization("asvd-i", w, statistics), energy(w, statistics.gram)
    for key in METHODS:
        made = factorization(key, w, statistics)
        for rank in range(min(w.shape) + 1):
            least = output_error(w, best, rank, statistics.gram)
            assert least <= output_error(w, made, rank, statistics.gram) + 1e-9 * total
