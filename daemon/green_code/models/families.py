"""Model families as rows of data: how they differ, and the names of their weights in a checkpoint.

`decoder.py` depends on these rows only, never on a model's name. A new family is a row here and a test id in
tests/models/test_decoder.py. The family is `model_type` in the checkpoint's configuration; nothing is inferred from a path.

Letters of dimensions in this package: B batch, N new positions, S cached positions, L layers, X exits,
C hidden width, H query heads, K key-value heads, D head width, M inner width of the MLP, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from green_code.problems import Problem


@dataclass(frozen=True)
class Family:
    """The names of each weight in a checkpoint (`{}` is the layer, from 0), and what differs from Llama.

    The weights of a tuple of names are concatenated along the output dimension, in this order.
    """

    names: Mapping[str, tuple[str, ...]]  # ours → Hugging Face's, without ".weight" / ".bias"
    norm: Literal["rms", "layer"] = "rms"
    stored_gain_offset: float = 0.0  # added to a stored norm gain: Gemma stores gain − 1
    positions: Literal["rope", "learned"] = "rope"
    learned_position_offset: int = 0
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"] = "silu"
    gated: bool = True
    qk_norm: bool = False
    sandwich_norms: bool = False  # a second norm on the output of attention and of the MLP


_LLAMA_NAMES: dict[str, tuple[str, ...]] = {
    "embed": ("model.embed_tokens",),
    "norm": ("model.norm",),
    "head": ("lm_head",),
    "layers.{}.attention_norm": ("model.layers.{}.input_layernorm",),
    "layers.{}.qkv": (
        "model.layers.{}.self_attn.q_proj",
        "model.layers.{}.self_attn.k_proj",
        "model.layers.{}.self_attn.v_proj",
    ),
    "layers.{}.attention_out": ("model.layers.{}.self_attn.o_proj",),
    "layers.{}.mlp_norm": ("model.layers.{}.post_attention_layernorm",),
    "layers.{}.mlp_in": ("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    "layers.{}.mlp_out": ("model.layers.{}.mlp.down_proj",),
}

FAMILIES: dict[str, Family] = {
    # transformers/models/llama/modeling_llama.py
    "llama": Family(_LLAMA_NAMES),
    # transformers/models/gemma3/modeling_gemma3.py
    "gemma3_text": Family(
        _LLAMA_NAMES
        | {
            "layers.{}.q_norm": ("model.layers.{}.self_attn.q_norm",),
            "layers.{}.k_norm": ("model.layers.{}.self_attn.k_norm",),
            "layers.{}.attention_out_norm": ("model.layers.{}.post_attention_layernorm",),
            "layers.{}.mlp_norm": ("model.layers.{}.pre_feedforward_layernorm",),
            "layers.{}.mlp_out_norm": ("model.layers.{}.post_feedforward_layernorm",),
        },
        stored_gain_offset=1.0,
        activation="gelu_tanh",
        qk_norm=True,
        sandwich_norms=True,
    ),
    # transformers/models/opt/modeling_opt.py; the first two rows of its position table are unused
    "opt": Family(
        {
            "embed": ("model.decoder.embed_tokens",),
            "positions": ("model.decoder.embed_positions",),
            "norm": ("model.decoder.final_layer_norm",),
            "head": ("lm_head",),
            "layers.{}.attention_norm": ("model.decoder.layers.{}.self_attn_layer_norm",),
            "layers.{}.qkv": (
                "model.decoder.layers.{}.self_attn.q_proj",
                "model.decoder.layers.{}.self_attn.k_proj",
                "model.decoder.layers.{}.self_attn.v_proj",
            ),
            "layers.{}.attention_out": ("model.decoder.layers.{}.self_attn.out_proj",),
            "layers.{}.mlp_norm": ("model.decoder.layers.{}.final_layer_norm",),
            "layers.{}.mlp_in": ("model.decoder.layers.{}.fc1",),
            "layers.{}.mlp_out": ("model.decoder.layers.{}.fc2",),
        },
        norm="layer",
        positions="learned",
        learned_position_offset=2,
        activation="relu",
        gated=False,
    ),
}


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding of one layer: its base, and its scaling for long contexts."""

    base: float
    scaling: Literal["none", "linear", "llama3"] = "none"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_positions: int = 8192


@dataclass(frozen=True)
class ModelConfig:
    """What differs between the checkpoints of a family. Written to model.json, next to the converted weights."""

    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int
    norm_eps: float
    max_positions: int
    attention_scale: float
    tied_head: bool
    windows: tuple[int | None, ...]  # per layer: positions attended to, the own included; None: all
    ropes: tuple[Rope | None, ...]  # per layer; None: nothing is rotated
    rotary_width: int | None = None  # of each head, how many numbers are rotated; None: all
    qkv_bias: bool = False
    attention_out_bias: bool = False
    mlp_bias: bool = False
    embedding_scale: float = 1.0  # embeddings × this
    residual_scale: float = 1.0  # the output of attention and of the MLP × this, before it is added
    logit_scale: float = 1.0  # logits × this
    attention_softcap: float | None = None  # scores s become c · tanh(s / c)
    logit_softcap: float | None = None  # the same for logits

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            known = ", ".join(sorted(FAMILIES))
            raise Problem("model_damaged", f"model family {self.family!r} is unknown; known are: {known}.")
        if not len(self.windows) == len(self.ropes) == self.layers:
            raise ValueError("windows and ropes need one entry per layer")

    @property
    def row(self) -> Family:
        return FAMILIES[self.family]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        ropes = tuple(Rope(**rope) if rope else None for rope in data["ropes"])
        return cls(**{**data, "windows": tuple(data["windows"]), "ropes": ropes})


def config_from_hugging_face(hf: Mapping[str, Any]) -> ModelConfig:
    """The configuration of a checkpoint's config.json.

    Raises:
        Problem: the family is unknown, or the checkpoint has a part that the family does not describe.
    """
    hf = {**hf, **hf.get("text_config", {})} if "text_config" in hf else dict(hf)
    family = {"gemma3": "gemma3_text"}.get(str(hf["model_type"]), str(hf["model_type"]))
    layers, width, heads = (int(hf["num_hidden_layers"]), int(hf["hidden_size"]), int(hf["num_attention_heads"]))
    if family == "opt":
        if not hf.get("do_layer_norm_before", True) or hf.get("word_embed_proj_dim", width) != width:
            raise Problem(
                "model_damaged",
                "this OPT checkpoint normalises after attention or projects its embeddings; use opt-125m, opt-1.3b or opt-2.7b.",
            )
        if hf.get("activation_function", "relu") != "relu":
            raise Problem(
                "model_damaged",
                f"this OPT checkpoint's activation is {hf['activation_function']}, not relu; use opt-125m, opt-1.3b or opt-2.7b.",
            )
        return ModelConfig(
            family=family, layers=layers, width=width, heads=heads, kv_heads=heads, head_width=width // heads,
            mlp_width=int(hf["ffn_dim"]), vocabulary=int(hf["vocab_size"]), norm_eps=1e-5,
            max_positions=int(hf["max_position_embeddings"]), attention_scale=(width // heads) ** -0.5,
            tied_head=bool(hf.get("tie_word_embeddings", True)), windows=(None,) * layers, ropes=(None,) * layers,
            qkv_bias=True, attention_out_bias=True, mlp_bias=True,
        )  # fmt: skip
    _check_parts(hf, FAMILIES.get(family))
    head_width = int(hf.get("head_dim") or width // heads)
    pattern = int(hf.get("sliding_window_pattern") or 6) if family == "gemma3_text" else 1
    kinds = hf.get("layer_types") or [  # older Gemma 3 configurations have only the pattern
        "full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(layers)
    ]
    window = hf.get("sliding_window")
    return ModelConfig(
        family=family,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=int(hf.get("num_key_value_heads") or heads),
        head_width=head_width,
        mlp_width=int(hf["intermediate_size"]),
        vocabulary=int(hf["vocab_size"]),
        norm_eps=float(hf["rms_norm_eps"]),
        max_positions=int(hf["max_position_embeddings"]),
        attention_scale=float(hf.get("query_pre_attn_scalar") or head_width) ** -0.5,
        tied_head=bool(hf.get("tie_word_embeddings", family == "gemma3_text")),
        windows=tuple(int(window) if kind == "sliding_attention" and window else None for kind in kinds),
        ropes=tuple(_rope(hf, kind) for kind in kinds),
        embedding_scale=width**0.5 if family == "gemma3_text" else 1.0,
    )


_ACTIVATIONS = {"silu": ("silu", "swish"), "gelu_tanh": ("gelu_pytorch_tanh", "gelu_new")}  # → names in configurations


def _check_parts(hf: Mapping[str, Any], row: Family | None) -> None:
    """Raises Problem if a checkpoint has parts that its family does not describe."""
    if row is None:
        return  # ModelConfig raises
    activation = hf.get("hidden_activation") or hf.get("hidden_act")
    if activation is not None and activation not in _ACTIVATIONS[row.activation]:
        raise Problem(
            "model_damaged",
            f"this checkpoint's activation is {activation}, not {row.activation}: such ones are not supported.",
        )
    for part in ("attention_bias", "mlp_bias"):
        if hf.get(part):
            raise Problem(
                "model_damaged", f"this checkpoint has biases ({part}): such ones are not supported in its family."
            )


def _rope(hf: Mapping[str, Any], kind: str) -> Rope:
    """From `rope_parameters` (transformers 5, in some models per layer type) or from the older keys."""
    parameters = hf.get("rope_parameters") or {}
    if kind in parameters:
        parameters = parameters[kind]
    if not parameters:
        local = kind == "sliding_attention" and hf.get("rope_local_base_freq")
        base = hf["rope_local_base_freq"] if local else hf.get("rope_theta", 10000.0)
        parameters = {"rope_theta": base, **({} if local else hf.get("rope_scaling") or {})}
    scaling = parameters.get("rope_type", parameters.get("type", "default"))
    base = float(parameters.get("rope_theta", hf.get("rope_theta", 10000.0)))
    if scaling == "default":
        return Rope(base)
    if scaling == "linear":
        return Rope(base, "linear", float(parameters["factor"]))
    if scaling == "llama3":
        return Rope(
            base,
            "llama3",
            float(parameters["factor"]),
            float(parameters["low_freq_factor"]),
            float(parameters["high_freq_factor"]),
            int(parameters["original_max_position_embeddings"]),
        )
    raise Problem("model_damaged", f"rotary scaling {scaling!r} is unknown; known are: default, linear, llama3.")
