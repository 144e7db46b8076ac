"""What is a site, who shares an input, and what is never touched."""

import pytest
import torch
from torch import nn

from lowrank_core.errors import ModelUnsupported
from lowrank_core.models.sites import anatomy
from tests.tiny import tiny_config

SHAPES = {
    "q": (32, 32),
    "k": (16, 32),
    "v": (16, 32),
    "o": (32, 32),
    "gate": (48, 32),
    "up": (48, 32),
    "down": (32, 48),
}


def test_sites_in_the_order_of_the_data_flow(loaded) -> None:
    sites = loaded.anatomy.sites
    assert [(s.block, s.role) for s in sites] == [(b, r) for b in range(3) for r in SHAPES]
    for s in sites:
        linear = loaded.model.get_submodule(s.path)
        assert isinstance(linear, nn.Linear) and tuple(linear.weight.shape) == (s.d_out, s.d_in) == SHAPES[s.role]
        assert s.parameters == linear.weight.numel() and s.max_rank == min(linear.weight.shape)
    assert loaded.anatomy.site(sites[4].path) == sites[4]
    assert loaded.anatomy.block_paths == ("model.layers.0", "model.layers.1", "model.layers.2")
    assert loaded.anatomy.family == "LLaMA" and not loaded.anatomy.bos


def test_input_groups(loaded) -> None:
    groups = {k: [s.role for s in v] for k, v in loaded.anatomy.groups.items()}
    assert groups == {
        f"{b}.{name}": roles
        for b in range(3)
        for name, roles in {"qkv": ["q", "k", "v"], "o": ["o"], "gate_up": ["gate", "up"], "down": ["down"]}.items()
    }


def test_sites_of_a_group_read_the_very_same_input(loaded) -> None:
    seen = {}
    handles = [
        loaded.model.get_submodule(s.path).register_forward_pre_hook(
            lambda m, args, p=s.path: seen.__setitem__(p, args[0])
        )
        for s in loaded.anatomy.sites
    ]
    try:
        with torch.no_grad():
            loaded.model(input_ids=torch.arange(12)[None])
    finally:
        for handle in handles:
            handle.remove()
    for sites in loaded.anatomy.groups.values():
        assert all(seen[s.path] is seen[sites[0].path] for s in sites)


def test_tied_weights_are_never_sites(loaded) -> None:
    head = loaded.model.lm_head.weight
    assert head is loaded.model.model.embed_tokens.weight
    assert all(loaded.model.get_submodule(s.path).weight is not head for s in loaded.anatomy.sites)


def test_linears_tied_to_each_other_are_never_sites() -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(tiny_config())
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    paths = {s.path for s in anatomy(model).sites}
    assert len(paths) == 19 and not any(
        p in paths for p in ("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj")
    )


def test_of_several_lists_the_longest_outer_one_holds_the_blocks() -> None:
    model = nn.Module()
    model.config = type("Config", (), {"model_type": "unheard-of"})()
    model.tail = nn.ModuleList([nn.Linear(3, 3)])
    model.body = nn.ModuleList([nn.Module() for _ in range(2)])
    for block in model.body:
        block.parts = nn.ModuleList([nn.Linear(3, 3) for _ in range(5)])
    found = anatomy(model)
    assert found.block_paths == ("body.0", "body.1") and len(found.sites) == 10
    assert found.family == "generic" and len(found.groups) == 10  # nobody is known to share an input


def test_a_convolution_is_no_mixture_of_experts() -> None:
    model = nn.Module()
    model.config = type("Config", (), {"model_type": "unheard-of"})()
    block = nn.Module()
    block.mixer, block.mlp, block.moe = nn.Module(), nn.Module(), nn.Module()
    block.mixer.conv, block.mixer.proj = nn.Conv1d(3, 3, 2), nn.Linear(3, 3)
    block.mlp.up = nn.Linear(3, 3)
    block.moe.router, block.moe.experts = nn.Linear(3, 2), nn.ModuleList([nn.Linear(3, 3)])
    model.blocks = nn.ModuleList([block])
    found = anatomy(model)
    assert {s.role for s in found.sites} == {"proj", "up"} and found.skipped == ("blocks.0.moe",)


def test_nothing_is_said_of_a_stream_that_is_normed_after_it_was_added_to() -> None:
    """opt-350m's norms come behind: its row's word on the residual stream and the last norm does not hold."""
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 16, "word_embed_proj_dim": 8, "ffn_dim": 24, "num_hidden_layers": 2}
    model = OPTForCausalLM(OPTConfig(**sizes, num_attention_heads=2, vocab_size=64, do_layer_norm_before=False))
    found = anatomy(model)
    assert found.family == "OPT" and found.carries == () and found.norm is None
    assert all(s.path.startswith("model.decoder.layers.") for s in found.sites)  # project_in and out are none


def test_a_model_without_blocks_is_refused() -> None:
    bare = nn.Module()
    bare.config = type("Config", (), {"model_type": "unheard-of"})()
    bare.linear = nn.Linear(3, 3)
    with pytest.raises(ModelUnsupported, match="no list of blocks"):
        anatomy(bare)
    bare.blocks = nn.ModuleList([nn.LayerNorm(3)])
    with pytest.raises(ModelUnsupported, match="no linear layer"):
        anatomy(bare)
    bare.config.model_type = "llama"
    with pytest.raises(ModelUnsupported, match="model.layers"):
        anatomy(bare)
