"""A model that is made ready gives what the plain one gives, in every form, over all families; and measures once."""

import json
from itertools import product

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lowrank_core.generation import ready as room
from lowrank_core.generation.decoder import Decoder
from lowrank_core.generation.forms import Matrices, dense, fold, matrices_of, padded, reordered
from lowrank_core.generation.products import Products, coarse
from lowrank_core.generation.ready import Form, ready
from lowrank_core.linalg import balanced_svd
from lowrank_core.models.dense import dense_weight
from lowrank_core.models.sites import anatomy
from lowrank_core.models.surgery import factored, joined, pivoted, put, share_copy
from lowrank_core.modules.product import LAYOUTS, layouts
from lowrank_core.modules.running import Member
from tests.tiny import scale_weights
from tests.zoo import KINDS

IDS = torch.arange(3, 27).view(2, 12)
BOUNDS = {torch.float32: 2e-4, torch.bfloat16: 0.08}
STORAGES = ("factored", "pivoted", "joint", "mixed", "dense")


def random_model(model_type: str, dtype=torch.float32):
    """The tiny model of a type; its norms and biases are not all alike."""
    config = AutoConfig.for_model(model_type, **{"vocab_size": 64, "pad_token_id": 0, **KINDS[model_type].everything})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
        scale_weights(model)
        for p in model.parameters():
            if p.dim() == 1:
                p += 0.2 * torch.randn(p.shape).to(p)
    return model


def compressed(model, storage: str, rank: int = 5):
    """A second model whose sites have factors of a rank, in a storage; mixed: each site another."""
    parts, second = anatomy(model), share_copy(model)
    kinds = ("factored", "pivoted", "dense")
    for g, sites in enumerate(parts.groups.values()):
        cut = {}
        for i, site in enumerate(sites):
            linear = model.get_submodule(site.path)
            left, right, _, _ = balanced_svd(dense_weight(linear).double())
            cut[site.path] = (linear, left[:, :rank].contiguous(), right[:rank].contiguous())
            kind = kinds[(g + i) % 3] if storage == "mixed" else storage
            if kind in ("factored", "pivoted"):
                put(second, site.path, {"factored": factored, "pivoted": pivoted}[kind](*cut[site.path]))
        if storage == "joint":
            linears, lefts, rights = zip(*cut.values(), strict=True)
            for path, module in zip(cut, joined(linears, lefts, rights[0]), strict=True):
                put(second, path, module)
    return second


def close(found, wanted, bound: float) -> bool:
    return (found - wanted).double().norm() <= bound * wanted.double().norm()


@pytest.fixture(scope="module")
def models():
    """Model type → a random model, made once."""
    made = {}

    def get(model_type: str):
        if model_type not in made:
            made[model_type] = random_model(model_type)
        return made[model_type]

    return get


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("model_type", KINDS)
@torch.no_grad()
def test_every_form_gives_what_the_plain_one_gives(models, model_type: str, storage: str) -> None:
    plain = compressed(models(model_type), storage)
    wanted = plain(input_ids=IDS, use_cache=False).logits
    for layout, (is_joined, merged, multiple) in zip(
        [*layouts("cpu", torch.float32)] * 4,
        product((True, False), (True, False), (1, 16)),
        strict=False,
    ):
        form = Form(is_joined, merged, multiple, layout)
        made = ready(plain, form=form)
        assert close(made(input_ids=IDS, use_cache=False).logits, wanted, BOUNDS[torch.float32]), form
    assert torch.equal(plain(input_ids=IDS, use_cache=False).logits, wanted)  # which is left as it was


@pytest.mark.parametrize("model_type", KINDS)
@torch.no_grad()
def test_sites_of_an_input_group_do_share_one_product(models, model_type: str) -> None:
    made = ready(compressed(models(model_type), "factored"), form=Form(joined=True))
    seen = []

    def counted(product, call):
        return lambda x: seen.append(product) or call(x)

    for module in made.modules():
        if isinstance(module, Member) and module.first is not None:
            module.first.call = counted(module.first, module.first.call)
    made(input_ids=IDS, use_cache=False)
    assert len(seen) == len(set(seen))  # a product that was computed twice was not shared


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("model_type", KINDS)
@torch.no_grad()
def test_it_decodes_as_the_plain_one_does(model_type: str, dtype) -> None:
    plain = compressed(random_model(model_type, dtype), "factored", 12)
    made = ready(plain, form=Form(joined=True))
    before = plain.config._attn_implementation
    decoders = [Decoder(m, 12) for m in (plain, made)]
    for start, end in ((0, 7), *((i, i + 1) for i in range(7, 12))):  # beyond the sliding windows, too
        wanted, found = (d.run(IDS[:, start:end]) for d in decoders)
        assert close(found, wanted, BOUNDS[dtype])
    assert plain.config._attn_implementation == before  # its configuration is its own


def test_heads_that_share_keys_are_read_in_one_product(models, monkeypatch) -> None:
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention",
        lambda q, k, v, **more: seen.append((tuple(q.shape), more)) or attend(q, k, v, **more),
    )
    decoder = Decoder(ready(models("llama"), form=Form()), 12)
    for ids in (IDS[:, :7], IDS[:, 7:8]):
        decoder.run(ids)
    prompt, step = seen[0], seen[2]
    assert prompt[0] == (2, 4, 7, 8) and prompt[1]["enable_gqa"]
    assert step[0] == (2, 2, 2, 8) and "enable_gqa" not in step[1]


@pytest.mark.parametrize("storage", STORAGES)
@torch.no_grad()
def test_in_bfloat16(storage: str) -> None:
    plain = compressed(random_model("llama", torch.bfloat16), storage)
    wanted = plain(input_ids=IDS, use_cache=False).logits
    for layout in layouts("cpu", torch.bfloat16):
        found = ready(plain, form=Form(True, False, 8, layout))(input_ids=IDS, use_cache=False).logits
        assert found.dtype == torch.bfloat16 and close(found, wanted, BOUNDS[torch.bfloat16])


@torch.no_grad()
def test_what_is_measured_is_taken_and_kept(models, store, monkeypatch) -> None:
    plain = compressed(models("llama"), "mixed")
    wanted = plain(input_ids=IDS, use_cache=False).logits
    assert close(ready(plain, store)(input_ids=IDS, use_cache=False).logits, wanted, BOUNDS[torch.float32])
    (file,) = store.folder.glob("products/*.json")
    measured = json.loads(json.loads(file.read_text())["facts"])["seconds"]
    assert measured and all(s >= 0 for s in measured.values())

    def never(*_):
        raise AssertionError("measured twice")

    for name in ("_time_product", "_time_gather", "_time_take"):
        monkeypatch.setattr(Products, name, never)
    assert close(ready(plain, store)(input_ids=IDS, use_cache=False).logits, wanted, BOUNDS[torch.float32])


class Priced(Products):
    """Products whose costs are said instead of measured."""

    def __init__(self, costs, take: float = 0.0):
        self.layouts, self.costs, self._take = ("rows", "columns"), costs, take

    def product(self, m, n, layout="rows"):
        return self.costs(m, n) * (1 if layout == "columns" else 2)

    def gather(self, m):
        return 0.0

    def take(self):
        return self._take


def sites(rank: int = 3) -> list[Matrices]:
    return [Matrices(torch.randn(rank, 8), torch.randn(m, rank)) for m in (10, 6)]


def test_the_form_follows_the_costs() -> None:
    def numbers(m, n):
        return m * n

    def calls(m, n):
        return 1

    few = room.modules_of(sites(), Priced(numbers), None)  # reading is what costs: the factors stay, apart
    assert [type(m).__name__ for m in few] == ["Running", "Running"] and few[0].first.layout == "columns"
    one = room.modules_of(sites(), Priced(calls), None)  # every product costs the same: one dense one for both
    assert [type(m).__name__ for m in one] == ["Member", "Member"] and one[0].first.out_features == 16
    lone = room.modules_of(sites(), Priced(calls, take=9), None)  # but not where taking a part costs more
    assert [type(m).__name__ for m in lone] == ["Product", "Product"]
    mixed = room.modules_of([sites(1)[0], Matrices(torch.randn(6, 8), torch.randn(10, 6))], Priced(numbers, 1e9), None)
    assert [type(m).__name__ for m in mixed] == ["Running", "Product"]  # dense where that is less, alone
    odd = room.modules_of(sites(), Priced(lambda m, n: m * n * (1 if {m, n} & {16} else 1e3), 1e9), None)
    assert odd[0].first.out_features == 16 == odd[0].rest.then.in_features  # ranks the device likes


def test_nothing_stays_in_a_model_that_is_given_up(models) -> None:
    plain = compressed(models("llama"), "factored")
    wanted = plain(input_ids=IDS, use_cache=False).logits
    made = ready(plain, form=Form(layout="columns"), keep=False)
    assert not any(m for m in plain.modules() if isinstance(m, torch.nn.Linear))
    assert close(made(input_ids=IDS, use_cache=False).logits, wanted, BOUNDS[torch.float32])


def test_a_gather_is_folded_into_what_reads_it(models) -> None:
    model = models("llama")
    plain = compressed(model, "dense")
    for role in ("gate", "up"):
        path = f"model.layers.0.mlp.{role}_proj"
        linear = model.get_submodule(path)
        left, right, _, _ = balanced_svd(linear.weight.double())
        make = pivoted if role == "up" else factored
        put(plain, path, make(linear, left[:, :5], right[:5]))
    made = ready(plain, form=Form())
    assert made.get_submodule("model.layers.0.mlp.up_proj").rest.order is None
    assert plain.get_submodule("model.layers.0.mlp.up_proj").order is not None
    wanted = plain(input_ids=IDS, use_cache=False).logits
    assert close(made(input_ids=IDS, use_cache=False).logits, wanted, BOUNDS[torch.float32])


def apply(site: Matrices, x):
    z = x @ site.first.T
    y = z if site.then is None else z @ site.then.T
    y = torch.cat([z, y], -1) if site.both else y
    y = y if site.order is None else y[..., site.order]
    return y if site.bias is None else y + site.bias


def test_the_matrices_stay_the_same_map() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(9, 12).double().requires_grad_(False)
    left, right, _, _ = balanced_svd(linear.weight)
    x, outputs = torch.randn(4, 9).double(), torch.randperm(12)
    for module in (linear, factored(linear, left[:, :5], right[:5]), pivoted(linear, left[:, :5], right[:5])):
        site = matrices_of(module)
        wanted = module(x)
        for same in (site, padded(site, 4), dense(site), padded(padded(site, 4), 3)):
            assert same.d_out == 12
            torch.testing.assert_close(apply(same, x), wanted)
            torch.testing.assert_close(apply(reordered(same, outputs), x), wanted[:, outputs])
        reader = matrices_of(torch.nn.Linear(12, 3).double().requires_grad_(False))
        feeding, fed = fold({"gate": site, "up": padded(site, 4)}, reader)
        bent = apply(site, x).relu() * apply(site, x)
        found = apply(feeding["gate"], x).relu() * apply(feeding["up"], x)
        torch.testing.assert_close(apply(fed, found), apply(reader, bent))
        assert feeding["gate"].order is None
    assert matrices_of(torch.nn.LayerNorm(3)) is None


def test_sizes_are_measured_at_few_places() -> None:
    assert [coarse(s) for s in (1, 32, 2048)] == [1, 32, 2048]
    for size in range(33, 12000, 7):
        near = coarse(size)
        assert abs(near - size) <= size / 8 + 1 and (near % 16 == 0) == (size % 16 == 0)
    assert len({coarse(s) for s in range(128, 4096)}) <= 2 * (4 * 5 + 1)
    assert coarse(751) % 16 and coarse(752) % 16 == 0


def test_layouts_are_those_that_work() -> None:
    assert set(layouts("cpu", torch.float32)) <= set(LAYOUTS) and layouts("cuda", torch.float16) == ("rows", "columns")
