"""What every method promises, asserted over the whole registry: a new entry is tested for free."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from lowrank_core.errors import BadValue
from lowrank_core.linalg import ridged
from lowrank_core.methods import METHODS, Factorization, Method, Statistics

from . import random_cases

SHAPES = [(12, 20), (16, 16), (20, 12)]
SLICEABLE = [k for k, m in METHODS.items() if m.sliceable]
NESTED = {"nsvd-i": "asvd-i", "nsvd-ii": "asvd-ii", "nid-i": "asvd-i", "nid-ii": "asvd-ii"}
CENTRED = [k for k, m in METHODS.items() if any(p.name == "centre" for p in m.parameters)]
RIDGED = [k for k, m in METHODS.items() if any(p.name == "ridge" for p in m.parameters)]
BOUND = {torch.float64: 1e-8, torch.float32: 2e-4}  # of the weight's norm, or of the output's energy
every_method = pytest.mark.parametrize("key", METHODS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
both_dtypes = pytest.mark.parametrize("dtype", BOUND, ids=str)


def drawn(
    shape: tuple[int, int], tokens: int = 200, seed: int = 0, dtype=torch.float64
) -> tuple[torch.Tensor, Statistics]:
    """A weight, and statistics of correlated inputs and gradients of very different loudness, off centre."""
    g = torch.Generator().manual_seed(seed)

    def sample(n: int) -> torch.Tensor:
        x = torch.randn(tokens, n, dtype=torch.float64, generator=g)
        mix = torch.randn(n, n, dtype=torch.float64, generator=g) * n**-0.5
        loudness = torch.logspace(-1, 1, n, dtype=torch.float64)[torch.randperm(n, generator=g)]
        return x @ mix * loudness + loudness * torch.randn(n, dtype=torch.float64, generator=g)

    w = torch.randn(*shape, dtype=torch.float64, generator=g)
    return in_dtype(w, random_cases.statistics_of(sample(shape[1]), sample(shape[0])), dtype)


def in_dtype(w: torch.Tensor, statistics: Statistics, dtype) -> tuple[torch.Tensor, Statistics]:
    """The same numbers in another precision."""
    tensors = {k: v.to(dtype) for k, v in vars(statistics).items() if isinstance(v, torch.Tensor)}
    return w.to(dtype), replace(statistics, **tensors)


def factorization(key: str, w: torch.Tensor, statistics: Statistics, **given) -> Factorization:
    return METHODS[key].factorize(w, statistics, METHODS[key].settle(given))


def product(made: Factorization, rank: int) -> torch.Tensor:
    """Ŵ at a rank."""
    cut = made.cut(rank)
    return cut.left @ cut.right


def output_error(w: torch.Tensor, made: Factorization, rank: int, moment: torch.Tensor) -> float:
    """tr(Δ C Δᵀ) of the cut, from its definition."""
    rest = w - product(made, rank)
    return float(torch.trace(rest @ moment @ rest.T))


def covariance(statistics: Statistics) -> torch.Tensor:
    return statistics.gram - torch.outer(statistics.mean, statistics.mean)


def energy(w: torch.Tensor, gram: torch.Tensor) -> float:
    return float(torch.trace(w @ gram @ w.T))


def check_whole(w: torch.Tensor, made: Factorization) -> None:
    """Full rank reproduces W, to 1e-8 in float64 and to 2e-4 in float32."""
    assert (product(made, min(w.shape)) - w).norm() <= BOUND[w.dtype] * w.norm()


@every_method
def test_an_entry_says_who_it_is(key: str) -> None:
    entry = METHODS[key]
    assert entry.key == key and entry.label and entry.paper and entry.link.startswith("https://")
    assert entry.line.endswith(".")
    assert all(p.low <= p.default <= p.high and p.line for p in entry.parameters)


@every_method
@every_shape
@both_dtypes
def test_full_rank_reproduces_the_weight(key: str, shape, dtype) -> None:
    w, statistics = drawn(shape, dtype=dtype)
    check_whole(w, factorization(key, w, statistics))
    for p in METHODS[key].parameters:
        for value in {p.low, p.high}:
            check_whole(w, factorization(key, w, statistics, **{p.name: value}))


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


@pytest.mark.parametrize("key", SLICEABLE)
@every_shape
@both_dtypes
def test_output_error_is_the_error_of_every_cut(key: str, shape, dtype) -> None:
    w, statistics = drawn(shape, dtype=dtype)
    given = (
        [{}]
        + [{"ridge": r} for r in (0, 0.01, 3) if key in RIDGED]
        + [{"centre": "yes"} for _ in CENTRED[:1] if key in CENTRED]
    )
    for parameters in given:
        made = factorization(key, w, statistics, **parameters)
        moment = covariance(statistics) if "centre" in parameters else statistics.gram
        total = energy(w, moment)
        for rank in range(min(shape) + 1):
            assert abs(float(made.output_error[rank]) - output_error(w, made, rank, moment)) <= BOUND[dtype] * total
        assert float(made.output_error[0]) == pytest.approx(total, rel=BOUND[dtype])


# What the methods that are rows of METHODS.md §1 scale the two sides of the weight by.
def identity(n: int) -> torch.Tensor:
    return torch.eye(n, dtype=torch.float64)


def root_of(moment: torch.Tensor) -> torch.Tensor:
    """A root of a moment by its Cholesky factor: any root of it gives the same norm."""
    return torch.linalg.cholesky(moment)


ROWS = {
    "svd": lambda s: (None, None),
    "fwsvd": lambda s: (s.row_fisher.sqrt().diag(), None),
    "asvd-0": lambda s: (None, s.abs_mean.sqrt().diag()),
    "asvd-i": lambda s: (None, root_of(s.gram)),
    "asvd-ii": lambda s: (None, root_of(s.gram)),
    "asvd-iii": lambda s: (None, identity(len(s.gram)) * torch.linalg.eigvalsh(s.gram)[-1].sqrt()),
    "two-sided": lambda s: (root_of(ridged(s.output_gram, 1e-3)).T, root_of(ridged(s.gram, 1e-3))),
    "joint": lambda s: (None, root_of(s.gram)),
}


@pytest.mark.parametrize("key", ROWS)
@every_shape
@both_dtypes
def test_error_is_the_tail_in_the_methods_own_metric(key: str, shape, dtype) -> None:
    """‖L (W − Ŵ) S‖² = Σ_{i>r} σ_i²: one factorization gives the error of every rank."""
    w, statistics = drawn(shape)
    outer, inner = ROWS[key](statistics)
    outer = identity(shape[0]) if outer is None else outer
    inner = identity(shape[1]) if inner is None else inner
    made = factorization(key, *in_dtype(w, statistics, dtype))
    tail = made.sigma.double().square().flip(0).cumsum(0).flip(0)
    for rank in range(min(shape)):
        found = (outer @ (w - product(made, rank).double()) @ inner).square().sum()
        assert abs(float(found - tail[rank])) <= BOUND[dtype] * float(tail[0])
        # and no matrix of that rank does better in this metric
        best = torch.linalg.svdvals(outer @ w @ inner)[rank:].square().sum()
        assert abs(float(found - best)) <= BOUND[dtype] * float(tail[0])


@pytest.mark.parametrize("key", SLICEABLE)
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
    loud, faint = (
        factorization("asvd-0", w, random_cases.statistics_of(x * unit, x[:, :12])).cut(5) for unit in (1.0, 1e-4)
    )
    torch.testing.assert_close(loud.left @ loud.right, faint.left @ faint.right, rtol=1e-8, atol=1e-8)


@every_shape
@pytest.mark.parametrize("scale", ["abs-mean", "abs-max", "fisher"])
def test_asvd_0_scales_by_what_it_says(shape, scale: str) -> None:
    w, statistics = drawn(shape)
    magnitude = {
        "abs-mean": statistics.abs_mean,
        "abs-max": statistics.abs_max,
        "fisher": statistics.abs_mean * statistics.column_fisher.sqrt(),
    }[scale]
    made = factorization("asvd-0", w, statistics, scale=scale, alpha=0.7)
    u, sigma, v = torch.linalg.svd(w * magnitude**0.7, full_matrices=False)
    torch.testing.assert_close(made.sigma, sigma)
    torch.testing.assert_close(product(made, 5), u[:, :5] * sigma[:5] @ v[:5] / magnitude**0.7)
    assert METHODS["asvd-0"].gradients({"alpha": 0.7, "scale": 2.0}) and not METHODS["asvd-0"].gradients({"scale": 1.0})


@every_shape
def test_fwsvd_weighs_the_rows(shape) -> None:
    """The SVD of √row_fisher · W; rows that the loss does not depend on are given up first."""
    w, statistics = drawn(shape)
    fisher = torch.ones(shape[0], dtype=torch.float64)
    fisher[0] = 1e6
    made = factorization("fwsvd", w, replace(statistics, row_fisher=fisher))
    root = fisher.sqrt()[:, None]
    u, sigma, v = torch.linalg.svd(root * w, full_matrices=False)
    torch.testing.assert_close(product(made, 4), u[:, :4] * sigma[:4] @ v[:4] / root)
    rest = (w - product(made, 4)).norm(dim=1)
    assert rest[0] < 1e-3 * rest[1:].min()
    plain = factorization("fwsvd", w, replace(statistics, row_fisher=torch.full_like(fisher, 3.0)))
    torch.testing.assert_close(product(plain, 4), product(factorization("svd", w, statistics), 4))


@every_shape
@both_dtypes
def test_asvd_i_and_ii_are_one_optimum(shape, dtype) -> None:
    w, statistics = drawn(shape, dtype=dtype)
    for parameters in ({}, {"ridge": 0.1}, {"centre": "yes"}, {"ridge": 0.1, "centre": "yes"}):
        first, second = (factorization(k, w, statistics, **parameters) for k in ("asvd-i", "asvd-ii"))
        torch.testing.assert_close(first.sigma, second.sigma, rtol=0, atol=BOUND[dtype] * float(first.sigma[0]) * 10)
        if dtype == torch.float64:  # the subspaces themselves are only as sharp as the gaps between values
            for rank in range(min(shape) + 1):
                torch.testing.assert_close(
                    product(first, rank), product(second, rank), rtol=0, atol=1e-8 * float(w.norm())
                )


@every_shape
@pytest.mark.parametrize("tokens", [1, 3, 8])
def test_asvd_i_and_ii_agree_on_what_tokens_saw(shape, tokens: int) -> None:
    """Where the gram is singular, Ŵ X is one, while Ŵ is free in directions that no token used."""
    w, statistics = drawn(shape, tokens)
    first, second = (factorization(k, w, statistics) for k in ("asvd-i", "asvd-ii"))
    values, basis = torch.linalg.eigh(statistics.gram)
    seen = basis[:, -tokens:] * values[-tokens:].sqrt()
    for rank in range(min(shape) + 1):
        difference = (product(first, rank) - product(second, rank)) @ seen
        assert difference.norm() <= 1e-7 * (w @ seen).norm()  # the square root of what is squared in ASVD-I
    check_whole(w, first)
    check_whole(w, second)


@every_shape
def test_asvd_iii_is_plain_svd(shape) -> None:
    w, statistics = drawn(shape)
    turned, plain = factorization("asvd-iii", w, statistics), factorization("svd", w, statistics)
    for rank in range(min(shape) + 1):
        torch.testing.assert_close(product(turned, rank), product(plain, rank), rtol=0, atol=1e-8 * float(w.norm()))
    torch.testing.assert_close(turned.output_error, plain.output_error)


# --- the ridge, and centring ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", RIDGED)
@every_shape
def test_much_ridge_is_plain_svd(key: str, shape) -> None:
    w, statistics = drawn(shape)
    made, plain = factorization(key, w, statistics, ridge=1e6), factorization("svd", w, statistics)
    rank = 5
    if key.startswith("nid"):  # its second stage is no SVD: its outer part is
        made, rank = factorization(key, w, statistics, ridge=1e6, share=1), 5
    assert (product(made, rank) - product(plain, rank)).norm() <= 1e-3 * w.norm()


@pytest.mark.parametrize("key", ["asvd-i", "asvd-ii", "joint"])
@every_shape
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 5])
def test_a_ridge_gives_the_optimum_of_the_ridged_error(key: str, shape, ridge: float) -> None:
    """tr(Δ C Δᵀ) + μ (tr C / n) ‖Δ‖² is least, to the sum of the squared singular values that are cut."""
    w, statistics = drawn(shape)
    made = factorization(key, w, statistics, ridge=ridge)
    others = [factorization(k, w, statistics) for k in METHODS]
    mean = float(statistics.gram.trace()) / shape[1]

    def ridged_error(of: Factorization, rank: int) -> float:
        return output_error(w, of, rank, statistics.gram) + ridge * mean * float((w - product(of, rank)).square().sum())

    for rank in range(min(shape)):
        least = ridged_error(made, rank)
        assert least == pytest.approx(float(made.sigma[rank:].square().sum()), rel=1e-8)
        assert all(least <= ridged_error(other, rank) * (1 + 1e-8) for other in others)


@pytest.mark.parametrize("key", CENTRED)
@every_shape
def test_centring_prices_the_covariance_and_leaves_the_mean_to_the_bias(key: str, shape) -> None:
    """E‖Wx − (Ŵx + (W − Ŵ)μ)‖² is the error against the covariance: below the uncentred one at the same rank."""
    g = torch.Generator().manual_seed(5)
    x = torch.randn(100, shape[1], dtype=torch.float64, generator=g) + 3 * torch.randn(
        shape[1], dtype=torch.float64, generator=g
    )
    y = torch.randn(100, shape[0], dtype=torch.float64, generator=g)
    w, statistics = drawn(shape)[0], random_cases.statistics_of(x, y)
    made = factorization(key, w, statistics, centre="yes")
    torch.testing.assert_close(made.mean, x.mean(0))
    assert factorization(key, w, statistics).mean is None
    for rank in range(min(shape) + 1):
        rest = w - product(made, rank)
        change = x @ rest.T - rest @ made.mean
        true = float(change.square().sum(1).mean())
        assert true == pytest.approx(
            output_error(w, made, rank, covariance(statistics)), abs=1e-9 * energy(w, statistics.gram)
        )
        if METHODS[key].sliceable:
            assert true == pytest.approx(float(made.output_error[rank]), abs=1e-9 * energy(w, statistics.gram))
        if key in ("asvd-i", "asvd-ii"):
            plain = output_error(w, factorization(key, w, statistics), rank, statistics.gram)
            assert true <= plain + 1e-9 * energy(w, statistics.gram)


# --- nested ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", NESTED)
@every_shape
def test_nested_with_the_whole_share_is_its_outer_method(key: str, shape) -> None:
    w, statistics = drawn(shape)
    nested, outer = factorization(key, w, statistics, share=1), factorization(NESTED[key], w, statistics)
    for rank in range(min(shape) + 1):
        assert torch.equal(nested.cut(rank).left, outer.cut(rank).left)
        assert torch.equal(nested.cut(rank).right, outer.cut(rank).right)


@pytest.mark.parametrize("key", ["nsvd-i", "nsvd-ii"])
@every_shape
def test_nsvd_without_share_is_svd(key: str, shape) -> None:
    w, statistics = drawn(shape)
    nested, plain = factorization(key, w, statistics, share=0), factorization("svd", w, statistics)
    torch.testing.assert_close(product(nested, 5), product(plain, 5))


@pytest.mark.parametrize("key", NESTED)
def test_nested_spends_what_its_outer_method_leaves_on_the_weight_itself(key: str) -> None:
    w, statistics = drawn((16, 16))
    nested, outer = factorization(key, w, statistics, share=0.5), factorization(NESTED[key], w, statistics)
    assert (w - product(nested, 8)).norm() < (w - product(outer, 8)).norm()
    torch.testing.assert_close(nested.cut(8).left[:, :4], outer.cut(4).left)
    torch.testing.assert_close(nested.cut(8).right[:4], outer.cut(4).right)


@pytest.mark.parametrize("key", ["nid-i", "nid-ii"])
@every_shape
def test_nid_takes_columns_of_the_residual(key: str, shape) -> None:
    """The second left factor is columns of W − Ŵ₁, each once, and its right factor the least squares of the rest."""
    w, statistics = drawn(shape)
    made = factorization(key, w, statistics, share=0.5)
    for rank in (2, 6, min(shape)):
        first, cut = round(0.5 * rank), made.cut(rank)
        rest = w - product(factorization(NESTED[key], w, statistics), first)
        columns = cut.left[:, first:]
        distance = (columns[:, :, None] - rest[:, None, :]).norm(dim=0)  # (k₂, n)
        assert (distance.amin(1) <= 1e-12 * rest.norm()).all()
        assert len(set(distance.argmin(1).tolist())) == rank - first
        missed = rest - columns @ cut.right[first:]
        assert (columns.T @ missed).norm() <= 1e-9 * rest.square().sum()
        assert missed.norm() < rest.norm()


# --- two-sided ------------------------------------------------------------------------------------------------


def second_order(w: torch.Tensor, made: Factorization, rank: int, s: Statistics) -> float:
    """½ tr(Δᵀ G Δ C)."""
    rest = w - product(made, rank)
    return 0.5 * float(torch.trace(rest.T @ s.output_gram @ rest @ s.gram))


@every_shape
def test_two_sided_is_the_optimum_of_the_second_order_loss(shape) -> None:
    w, statistics = drawn(shape)
    made = factorization("two-sided", w, statistics, ridge=0)
    others = [factorization(k, w, statistics) for k in METHODS]
    total = second_order(w, made, 0, statistics)
    for rank in range(min(shape) + 1):
        assert float(made.loss[rank]) == pytest.approx(0.5 * float(made.sigma[rank:].square().sum()), abs=1e-12 * total)
        assert float(made.loss[rank]) == pytest.approx(second_order(w, made, rank, statistics), abs=1e-8 * total)
        assert all(float(made.loss[rank]) <= second_order(w, o, rank, statistics) + 1e-8 * total for o in others)
    small = factorization("two-sided", w, statistics, ridge=1e-6)
    for rank in range(min(shape)):
        assert float(small.loss[rank]) == pytest.approx(
            second_order(w, small, rank, statistics), rel=0.02, abs=1e-6 * total
        )


@every_shape
def test_two_sided_with_indifferent_outputs_is_asvd_i(shape) -> None:
    w, statistics = drawn(shape)
    flat = replace(statistics, output_gram=2.0 * identity(shape[0]))
    made, inner = factorization("two-sided", w, flat, ridge=0), factorization("asvd-i", w, statistics)
    torch.testing.assert_close(product(made, 5), product(inner, 5))
    torch.testing.assert_close(made.loss, inner.output_error)  # ½ · 2 · tr(Δ C Δᵀ)


# --- joint ----------------------------------------------------------------------------------------------------


@every_shape
def test_joint_of_one_matrix_is_its_row(shape) -> None:
    w, statistics = drawn(shape)
    for asked, key in (({}, "asvd-i"), ({"ridge": 0.2}, "asvd-i"), ({"whiten": "no"}, "svd")):
        made = factorization("joint", w, statistics, **asked)
        outer = factorization(key, w, statistics, **({"ridge": 0.2} if "ridge" in asked else {}))
        assert torch.equal(made.left, outer.left) and torch.equal(made.right, outer.right)


def test_joint_shares_one_right_factor_and_pays_for_it_once() -> None:
    """r (n + Σ m_i) parameters, where single factors cost r Σ (n + m_i); and Σ of the outputs' errors is its error."""
    w, statistics = drawn((32, 20))
    parts = w.split([16, 8, 8])
    made = factorization("joint", w, statistics)
    cut = made.cut(6)
    assert cut.left.numel() + cut.right.numel() == 6 * (20 + 32) < 6 * sum(20 + len(p) for p in parts)
    errors = [p - left @ cut.right for p, left in zip(parts, cut.left.split([16, 8, 8]), strict=True)]
    total = sum(float(torch.trace(e @ statistics.gram @ e.T)) for e in errors)
    assert float(made.output_error[6]) == pytest.approx(total, rel=1e-9)


@every_method
def test_parameters_stay_in_their_range(key: str) -> None:
    entry = METHODS[key]
    assert entry.settle() == {p.name: p.default for p in entry.parameters}
    with pytest.raises(BadValue, match="no parameter"):
        entry.settle({"colour": 1})
    for p in entry.parameters:
        assert entry.settle({p.name: p.high})[p.name] == p.high
        for i, name in enumerate(p.names):
            assert entry.settle({p.name: name}) == entry.settle({p.name: i}) == {**entry.settle(), p.name: float(i)}
        if p.names:
            with pytest.raises(BadValue, match=p.names[0]):
                entry.settle({p.name: 0.5})
        for wrong in (p.low - 0.01, p.high + 0.01, float("nan"), float("inf"), "many", None):
            with pytest.raises(BadValue, match=p.name):
                entry.settle({p.name: wrong})


@every_method
def test_results_are_named_by_what_differs_from_the_defaults(key: str) -> None:
    entry: Method = METHODS[key]
    assert entry.decisive(entry.settle()) == {} == entry.decisive({})
    for p in entry.parameters:
        other = p.high if p.default != p.high else p.low
        assert entry.decisive(entry.settle({p.name: other})) == {p.name: other}
        assert entry.decisive(entry.settle({p.name: p.default})) == {}


# --- whatever the inputs look like ----------------------------------------------------------------------------


@pytest.mark.parametrize("key", METHODS)
def test_a_hundred_random_cases_are_right_or_refused_by_name(key: str) -> None:
    """`python -m tests.methods.random_cases --cases 1000` runs the rest."""
    found = {seed: random_cases.outcome(case, key) for seed, case in CASES.items()}
    assert {s: f for s, f in found.items() if f not in ("right", "refused")} == {}
    assert [s for s, f in found.items() if f == "refused"] == [s for s, c in CASES.items() if c.spoiled]


CASES = {seed: random_cases.draw(seed) for seed in range(100)}


@settings(max_examples=25)
@given(seed=st.integers(100, 10**6))
def test_asvd_i_stays_the_optimum(seed: int) -> None:
    case = random_cases.draw(seed)
    if case.spoiled:
        return
    w, statistics = case.weight, case.statistics
    best = factorization("asvd-i", w, statistics)
    room = 1e-9 * energy(w, statistics.gram) + 1e-12 * float(w.square().sum() * statistics.gram.trace())
    for key in METHODS:
        made = factorization(key, w, statistics)
        for rank in range(min(w.shape) + 1):
            least = output_error(w, best, rank, statistics.gram)
            assert least <= output_error(w, made, rank, statistics.gram) + room


@pytest.mark.parametrize("key", METHODS)
@pytest.mark.parametrize("spoiled", ["weight", "gram", "abs_mean", "output_gram", "row_fisher"])
def test_what_is_no_number_is_refused_by_name_or_not_read(key: str, spoiled: str) -> None:
    """NaN in the weight is always refused; in a statistic, by every method that reads it."""
    case = replace(random_cases.draw(0), settings={})  # the defaults
    if spoiled == "weight":
        case = replace(case, weight=torch.full_like(case.weight, float("nan")), spoiled=True)
    else:
        value = torch.full_like(getattr(case.statistics, spoiled), float("nan"))
        case = replace(case, statistics=replace(case.statistics, **{spoiled: value}))
    found = random_cases.outcome(case, key)
    reads = {
        "gram": set(METHODS),  # they all price their error by it
        "abs_mean": {"asvd-0"},
        "output_gram": {"two-sided"},
        "row_fisher": {"fwsvd"},
        "weight": set(METHODS),
    }[spoiled]
    assert found == ("refused" if key in reads else "right")


def test_values_at_the_end_of_half_precision_are_summed_without_overflow() -> None:
    x = torch.full((30, 4), 6e4, dtype=torch.float16)
    x[::2, 1] *= -1
    statistics = random_cases.statistics_of(x, torch.ones(30, 3, dtype=torch.float16))
    assert float(statistics.gram[0, 0]) == float(x[0, 0]) ** 2 and float(statistics.abs_max[2]) == float(x[0, 0])
    w = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for key in METHODS:
        check_whole(w, factorization(key, w, statistics))
