"""config.json: what is read from it, what is refused by name, and absurd or hostile values, which give one sentence."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code.models.config import ModelConfig, Rope
from green_code.models.hugging_face_config import config_from_hugging_face
from green_code.problems import Problem
from tests.examples import examples
from tests.models.references import FAMILY_MODELS, family_model

Change = dict[str, Any]


def configured(name: str) -> dict[str, Any]:
    return dict(family_model(name).config.to_dict())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llama", {"hidden_act": "quick_gelu"}, "quick_gelu"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_type = 'yarn'"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}, "'dynamic'"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("llama", {"rope_parameters": None, "partial_rotary_factor": 0.25}, "partial_rotary_factor = 0.25"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3_text", {"layer_types": ["chunked_attention"] * 7}, "chunked_attention"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt_bigcode", {"multi_query": False}, "multi_query = False"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before"),
        ("opt", {"word_embed_proj_dim": 32}, "word_embed_proj_dim = 32"),
        ("opt", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
        ("phi3", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}}, "longrope"),
        ("phi3", {"head_dim": None, "partial_rotary_factor": 0.75, "rope_parameters": None, "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, "rope_type = 'longrope'"),
        ("llama", {"model_type": "mamba"}, "'mamba'.*smollm3"),
        ("llama", {"model_type": ["llama"]}, "llama"),
    ],
)  # fmt: skip
def test_an_option_that_no_decoder_has_is_refused_by_its_name(name: str, change: Change, message: str) -> None:
    with pytest.raises(Problem, match=message):
        config_from_hugging_face({**configured(name), **change})


PUBLISHED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (  # Qwen2.5-Coder-0.5B: its window is switched off
        {"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
         "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
         "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 151936},
        {"head_width": 64, "qkv_bias": True, "attention_out_bias": False, "windows": (None,) * 24, "ropes": (Rope(1e6),) * 24},
    ),
    (  # DeepSeek-Coder-1.3B: the scaling's older name
        {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 5504, "max_position_embeddings": 16384, "num_attention_heads": 16,
         "num_hidden_layers": 24, "num_key_value_heads": 16, "rms_norm_eps": 1e-06, "rope_scaling": {"factor": 4.0, "type": "linear"},
         "rope_theta": 100000, "tie_word_embeddings": False, "vocab_size": 32256},
        {"ropes": (Rope(1e5, "linear", 4.0),) * 24, "tied_head": False},
    ),
    (  # StarCoderBase-1B: the exact GELU
        {"model_type": "gpt_bigcode", "activation_function": "gelu", "multi_query": True, "layer_norm_epsilon": 1e-05, "n_embd": 2048,
         "n_head": 16, "n_inner": 8192, "n_layer": 24, "n_positions": 8192, "scale_attn_weights": True, "vocab_size": 49152},
        {"kv_heads": 1, "head_width": 128, "mlp_width": 8192, "activation": "gelu", "mlp_bias": True, "ropes": (None,) * 24},
    ),
    (  # Phi-3-mini-4k: names code of its own, which is not needed
        {"model_type": "phi3", "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "hidden_size": 3072, "intermediate_size": 8192,
         "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
         "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
         "sliding_window": 2047, "tie_word_embeddings": False, "vocab_size": 32064},
        {"head_width": 96, "windows": (2047,) * 32, "rotary_width": None, "qkv_bias": False},
    ),
    (  # Code Gemma 2B: "gelu" means the approximation there
        {"model_type": "gemma", "head_dim": 256, "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2048,
         "intermediate_size": 16384, "max_position_embeddings": 8192, "num_attention_heads": 8, "num_hidden_layers": 18,
         "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "vocab_size": 256000},
        {"activation": "gelu_tanh", "embedding_scale": 2048**0.5, "tied_head": True},
    ),
    (  # SmolLM3-3B: every fourth layer has no positions
        {"model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "layer_types": ["full_attention"] * 36,
         "max_position_embeddings": 65536, "no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0] * 9, "num_attention_heads": 16,
         "num_hidden_layers": 36, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 5000000.0, "sliding_window": None,
         "use_sliding_window": False, "vocab_size": 128256},
        {"ropes": (Rope(5e6), Rope(5e6), Rope(5e6), None) * 9, "windows": (None,) * 36},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "expected"), PUBLISHED)
def test_configurations_as_they_are_published(stored: dict[str, Any], expected: dict[str, Any]) -> None:
    made = config_from_hugging_face(stored)
    assert {name: getattr(made, name) for name in expected} == expected


def test_older_spellings_give_the_same() -> None:
    """Files before transformers 5: `rope_theta` and `rope_scaling`, Gemma 3's pattern instead of a list."""
    llama = configured("llama")
    rope = llama.pop("rope_parameters")
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    older = {**llama, "rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    assert config_from_hugging_face(older) == config_from_hugging_face(configured("llama"))
    gemma = configured("gemma3_text")
    expected = config_from_hugging_face(gemma)
    older = {k: v for k, v in gemma.items() if k not in ("layer_types", "rope_parameters")}
    older |= {"sliding_window_pattern": 6, "rope_theta": 1e6, "rope_local_base_freq": 1e4}
    assert config_from_hugging_face(older) == expected
    assert (
        config_from_hugging_face({"model_type": "gemma3", "text_config": {**gemma, "model_type": "gemma3_text"}})
        == expected
    )


# --- Hostile configurations -------------------------------------------------------------------------------

SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size", "max_position_embeddings")  # fmt: skip
absurd = st.one_of(
    st.sampled_from(
        [0, -1, 10**9, 2**31, 2**63, 10**30, math.nan, math.inf, 1.5, "64", [], {}, [64], True, "x" * 10_000]
    ),
    st.integers(max_value=0),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.recursive(st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
)


@pytest.mark.parametrize("name", FAMILY_MODELS)
@examples(15)
@given(data=st.data())
def test_an_absurd_value_gives_one_sentence_or_a_valid_configuration(name: str, data: st.DataObject) -> None:
    config = configured(name)
    keys = data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=2, unique=True))
    for key in keys:
        config[key] = data.draw(absurd)
    try:
        made = config_from_hugging_face(config)
    except Problem as problem:
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
    else:
        assert msgspec.json.decode(msgspec.json.encode(made), type=ModelConfig) == made


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0, -64, 10**9, math.nan, "64", None, [64]])
def test_an_absurd_size_is_refused(size: str, value: Any) -> None:
    config = {**configured("llama"), size: value}
    optional = value is None and size in ("num_key_value_heads", "head_dim")
    if not optional:
        with pytest.raises(Problem):
            config_from_hugging_face(config)


@pytest.mark.parametrize(
    "change",
    [
        {"num_key_value_heads": 3},
        {"max_position_embeddings": 1},
        {"head_dim": 15},
        {"vocab_size": 4_000_000, "hidden_size": 65_536},
        {"rms_norm_eps": 0.0},
        {"rms_norm_eps": -1e-6},
        {"rope_parameters": {"rope_type": "default", "rope_theta": math.nan}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": "4"}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": math.inf}},
        {"num_labels": 10**9, "num_hidden_layers": 10**9},
    ],
)
def test_sizes_that_do_not_go_together_are_refused(change: Change) -> None:
    with pytest.raises(Problem):
        config_from_hugging_face({**configured("llama"), **change})


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("gpt2", "hidden_size", "64"),
        ("gpt2", "num_attention_heads", None),
        ("smollm3", "num_attention_heads", 0),
        ("smollm3", "no_rope_layers", [1] * 1000),
        ("granite", "logits_scaling", 0),
        ("gemma3_text", "rope_scaling", 0),
    ],
)
def test_the_value_that_is_wrong_is_named(name: str, key: str, value: Any) -> None:
    with pytest.raises(Problem, match=f"config.json has {key} = "):
        config_from_hugging_face({**configured(name), key: value})


def test_what_is_not_read_cannot_take_memory() -> None:
    """transformers would make a dictionary with an entry for each label."""
    assert config_from_hugging_face({**configured("llama"), "num_labels": 10**9})


def test_a_window_must_be_positive() -> None:
    for window in (-6, "6", 2.5):
        with pytest.raises(Problem):
            config_from_hugging_face({**configured("mistral"), "sliding_window": window})
