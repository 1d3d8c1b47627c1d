"""A checkpoint's config.json → `ModelConfig`.

transformers gives what the file leaves out and brings old spellings into the present one (`AutoConfig`). It gets only the options
that are read here: nothing in the file can make it import code or allocate memory. Options that change what a model computes, and
that no decoder here has, are refused by name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from green_code.models.config import ModelConfig, Rope, check_family
from green_code.models.families import FAMILIES, Activation
from green_code.problems import Problem, refusing

_MOST_LAYERS = 512  # more are refused by `ModelConfig`; transformers makes a list of them
_OTHER_NAMES = {"gemma3": "gemma3_text"}  # a model of text and images, of which only the text's part is read
_LAYERS = ("num_hidden_layers", "n_layer")
_SIZES = {
    *_LAYERS, "hidden_size", "n_embd", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "intermediate_size",
    "ffn_dim", "n_inner", "vocab_size", "max_position_embeddings", "n_positions",
}  # fmt: skip
_OPTIONAL = {"num_key_value_heads", "head_dim", "n_inner"}  # null stands for what follows from the others
_SCALES = {
    "logits_scaling",
    "query_pre_attn_scalar",
    "attention_multiplier",
    "embedding_multiplier",
    "residual_multiplier",
}
_ROPES = ("rope_parameters", "rope_scaling")
_SPELLINGS: dict[Activation, tuple[str, ...]] = {
    "silu": ("silu", "swish"),
    "gelu": ("gelu", "gelu_python"),
    "gelu_tanh": ("gelu_pytorch_tanh", "gelu_new", "gelu_python_tanh", "gelu_fast"),
    "relu": ("relu",),
}  # ours → transformers' (activations.py)

_UNDECLARED = {
    "head_dim", "partial_rotary_factor", "quantization_config", "rope_local_base_freq", "rope_scaling", "rope_theta",
    "sliding_window_pattern",
}  # fmt: skip
"""Options that transformers reads in every family or in older files, but that its classes do not declare."""

_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False, None),
    "do_layer_norm_before": (True,),
    "_remove_final_layer_norm": (False,),
    "layer_norm_elementwise_affine": (True,),
    "multi_query": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "use_bidirectional_attention": (False, None),
    "quantization_config": (None,),
}
"""Options whose other values change what a model computes → the values that the decoders have."""

_SCALINGS = ("default", "linear", "llama3")  # of rotary embeddings
_READ = (
    *_LAYERS, "hidden_size", "n_embd", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "intermediate_size",
    "ffn_dim", "n_inner", "vocab_size", "max_position_embeddings", "n_positions", "original_max_position_embeddings",
    "rms_norm_eps", "norm_epsilon", "layer_norm_epsilon", "hidden_act", "hidden_activation", "activation_function",
    "tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "enable_bias", "word_embed_proj_dim",
    "query_pre_attn_scalar", "attention_multiplier", "scale_attn_weights", "embedding_multiplier", "residual_multiplier",
    "logits_scaling", "attn_logit_softcapping", "final_logit_softcapping",
    "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "sliding_window_pattern",
    "rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq", "partial_rotary_factor", "no_rope_layers",
    "no_rope_layer_interval",
    "bos_token_id", "eos_token_id", "pad_token_id", *_SUPPORTED,
)  # fmt: skip


def config_from_hugging_face(stored: Mapping[str, Any]) -> ModelConfig:
    """The configuration of a checkpoint's config.json.

    Raises:
        Problem: the family is unknown, a value is one that no model can have, or the model has an option that is not supported.
    """
    return _config(_by_transformers(stored))


def end_tokens(stored: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens that end a text, by a checkpoint's config.json."""
    ends = stored.get("eos_token_id")
    listed = ends if isinstance(ends, list) else [ends]
    return tuple(token for token in listed if isinstance(token, int) and not isinstance(token, bool))


def _by_transformers(stored: Mapping[str, Any]) -> Any:
    """The options in `_READ` as transformers' configuration of that family."""
    if isinstance(stored.get("text_config"), Mapping):
        stored = {**stored, **stored["text_config"]}
    named = stored.get("model_type")
    family = check_family(_OTHER_NAMES.get(named, named) if isinstance(named, str) else named)
    try:
        from transformers import CONFIG_MAPPING, AutoConfig
    except ImportError as error:
        raise Problem(
            "model_missing", "reading a model's folder needs the extra 'hub': pip install 'green-code[hub]'."
        ) from error
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it remarks on what is handled here, or refused
    kind = CONFIG_MAPPING[family]
    declared = {field.name for field in fields(kind)}.union(kind.attribute_map, _UNDECLARED)
    options = {name: stored[name] for name in _READ if name in stored and name in declared}
    if options.get("head_dim", 0) is None:
        del options["head_dim"]
    _check_scaling(family, options)
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _wrong(name, value, "a finite number")
        if name in _SIZES and not (type(value) is int and value > 0) and not (value is None and name in _OPTIONAL):
            raise _wrong(name, value, "a whole number above 0")
        if name in _LAYERS and value > _MOST_LAYERS:
            raise _wrong(name, value, f"1 to {_MOST_LAYERS}")
        if name in _SCALES and not (type(value) in (int, float) and value > 0):
            raise _wrong(name, value, "a number above 0")
        if name in _ROPES and not (value is None or isinstance(value, Mapping)):
            raise _wrong(name, value, "an object")
    with refusing(_unreadable):
        return AutoConfig.for_model(family, **options)


def _check_scaling(family: str, options: Mapping[str, Any]) -> None:
    """Before transformers looks for what the scaling needs."""
    for name in _ROPES:
        whole = options.get(name)
        parts = [whole, *whole.values()] if isinstance(whole, Mapping) else []
        for part in (part for part in parts if isinstance(part, Mapping)):
            kind = part.get("rope_type", part.get("type", "default"))
            if kind not in _SCALINGS:
                raise _unsupported(family, "rope_type", kind)


def _config(hf: Any) -> ModelConfig:
    """The same as `ModelConfig`."""
    for name, values in _SUPPORTED.items():
        if hasattr(hf, name) and getattr(hf, name) not in values:
            raise _unsupported(hf.model_type, name, getattr(hf, name))
    with refusing(_unreadable):
        return _mapped(hf)


def _mapped(hf: Any) -> ModelConfig:
    family, layers, width, heads = hf.model_type, hf.num_hidden_layers, hf.hidden_size, hf.num_attention_heads
    row = FAMILIES[family]
    head_width = _first(hf, "head_dim", default=width // heads)
    kinds = _first(hf, "layer_types", default=["every"] * layers)
    windows = tuple(_window(hf, kind) for kind in kinds)
    ropes: list[Rope | None] = [None] * layers if row.positions == "learned" else [_rope(hf, kind) for kind in kinds]
    rotated = _first(hf, "no_rope_layers", default=[True] * layers)
    if not isinstance(rotated, list) or len(rotated) != layers:
        raise _wrong("no_rope_layers", rotated, f"a list of {layers}, one a layer")
    ropes = [
        rope if rotates else None for rope, rotates in zip(ropes, rotated, strict=False)
    ]  # how many is checked below
    every = family in ("gpt2", "gpt_bigcode") or _first(hf, "use_bias", "enable_bias", default=False)
    attention = every or _first(hf, "attention_bias", default=False)
    if _first(hf, "word_embed_proj_dim", default=width) != width:
        raise _unsupported(hf.model_type, "word_embed_proj_dim", hf.word_embed_proj_dim)
    return ModelConfig(
        family=family,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=_first(hf, "num_key_value_heads", default=heads),
        head_width=head_width,
        mlp_width=_first(hf, "intermediate_size", "ffn_dim", "n_inner", default=4 * width),
        vocabulary=hf.vocab_size,
        norm_eps=_first(hf, "rms_norm_eps", "norm_epsilon", "layer_norm_epsilon", default=1e-5),  # OPT's is torch's own
        max_positions=hf.max_position_embeddings,
        attention_scale=_attention_scale(hf, head_width),
        tied_head=hf.tie_word_embeddings,
        windows=windows,
        ropes=tuple(ropes),
        rotary_width=_rotary_width(hf, head_width),
        other_activation=_other_activation(hf, row.activation),
        qkv_bias=attention or family == "qwen2",
        attention_out_bias=attention,
        mlp_bias=every or _first(hf, "mlp_bias", default=False),
        embedding_scale=width**0.5 if family.startswith("gemma") else _first(hf, "embedding_multiplier", default=1.0),
        residual_scale=_first(hf, "residual_multiplier", default=1.0),
        logit_scale=1 / _first(hf, "logits_scaling", default=1.0),
        attention_softcap=_first(hf, "attn_logit_softcapping"),
        logit_softcap=_first(hf, "final_logit_softcapping"),
    )


def _first(hf: Any, *names: str, default: Any = None) -> Any:
    """The first of these options that the configuration has; `default` if it has none."""
    return next((value for name in names if (value := getattr(hf, name, None)) is not None), default)


def _attention_scale(hf: Any, head_width: int) -> float:
    if hf.model_type == "granite":
        return float(hf.attention_multiplier)
    if _first(hf, "scale_attn_weights") is False:
        return 1.0
    return float(_first(hf, "query_pre_attn_scalar", default=head_width) ** -0.5)


def _window(hf: Any, kind: str) -> int | None:
    """Positions that a layer of this kind attends to; a family without kinds has one window for all."""
    if kind not in ("every", "full_attention", "sliding_attention"):
        raise _unsupported(hf.model_type, "layer_types", kind)
    windowed = kind != "full_attention" and _first(hf, "use_sliding_window") is not False
    return _first(hf, "sliding_window") if windowed else None


def _rope(hf: Any, kind: str) -> Rope:
    """Of a layer of this kind."""
    parameters = hf.rope_parameters
    parameters = parameters.get(kind, parameters)
    scaling = parameters["rope_type"]
    base = float(parameters["rope_theta"])
    if scaling == "default":
        return Rope(base)
    if scaling == "linear":
        return Rope(base, "linear", parameters["factor"])
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    return Rope(base, "llama3", parameters["factor"], low, high, parameters["original_max_position_embeddings"])


def _rotary_width(hf: Any, head_width: int) -> int | None:
    """None: all of a head. Only Phi-3 rotates a part."""
    share = _first(hf, "rope_parameters", default={}).get("partial_rotary_factor", 1.0)
    if share != 1.0 and hf.model_type != "phi3":
        raise _unsupported(hf.model_type, "partial_rotary_factor", share)
    return None if share == 1.0 else int(head_width * share)


def _other_activation(hf: Any, family_has: Activation) -> Activation | None:
    stored = _first(hf, "hidden_activation", "hidden_act", "activation_function")
    found = next((ours for ours, theirs in _SPELLINGS.items() if stored in theirs), None)
    if found is None:
        raise _unsupported(hf.model_type, "activation", stored)
    return None if found == family_has else found


def _wrong(name: str, value: Any, allowed: str) -> Problem:
    shown = repr(value)[:40]
    return Problem(
        "model_damaged", f"the model's config.json has {name} = {shown}, which must be {allowed}; download it again."
    )


def _unsupported(family: str, name: str, value: Any) -> Problem:
    shown = repr(value)[:60]
    return Problem(
        "model_damaged",
        f"this model of the family {family} has {name} = {shown}, which is not supported: choose another model.",
    )


def _unreadable(what: str) -> Problem:
    return Problem("model_damaged", f"the model's config.json cannot be read ({what}); download it again.")
