"""Model families as rows of data: how they differ from Llama, and the names of their weights in a checkpoint.

The decoders depend on these rows only, never on a model's name. A new family is a row here, a row of sizes in
tests/models/references.py, and what its configuration calls things (hugging_face_config.py). The family is `model_type` in the
checkpoint's configuration; nothing is inferred from a path.

Letters of dimensions in this package: B batch, N new positions, S cached positions, L layers, X exits,
C hidden width, H query heads, K key-value heads, D head width, M inner width of the MLP, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True)
class Family:
    """The names of each weight in a checkpoint (`{}` is the layer, from 0), and what every checkpoint of the family has.

    The weights of a tuple of names are concatenated along the output dimension, in this order.
    """

    names: Mapping[str, tuple[str, ...]]  # ours → Hugging Face's, without ".weight" / ".bias"
    norm: Literal["rms", "layer"] = "rms"
    stored_gain_offset: float = 0.0  # added to a stored norm gain: Gemma stores gain − 1
    transposed: bool = False  # the layers' matrices are stored as (inputs, outputs)
    positions: Literal["rope", "learned"] = "rope"
    learned_position_offset: int = 0
    activation: Activation = "silu"  # where a checkpoint has no other
    gated: bool = True
    qk_norm: bool = False
    sandwich_norms: bool = False  # a second norm on the output of attention and of the MLP


_LLAMA_LAYER = "model.layers.{}."
_LLAMA_NAMES: dict[str, tuple[str, ...]] = {
    "embed": ("model.embed_tokens",),
    "norm": ("model.norm",),
    "head": ("lm_head",),
    "layers.{}.attention_norm": (f"{_LLAMA_LAYER}input_layernorm",),
    "layers.{}.qkv": tuple(f"{_LLAMA_LAYER}self_attn.{part}_proj" for part in "qkv"),
    "layers.{}.attention_out": (f"{_LLAMA_LAYER}self_attn.o_proj",),
    "layers.{}.mlp_norm": (f"{_LLAMA_LAYER}post_attention_layernorm",),
    "layers.{}.mlp_in": (f"{_LLAMA_LAYER}mlp.gate_proj", f"{_LLAMA_LAYER}mlp.up_proj"),
    "layers.{}.mlp_out": (f"{_LLAMA_LAYER}mlp.down_proj",),
}
_QK_NORMS = {f"layers.{{}}.{part}_norm": (f"{_LLAMA_LAYER}self_attn.{part}_norm",) for part in "qk"}
_SANDWICH_NORMS = {
    "layers.{}.attention_out_norm": (f"{_LLAMA_LAYER}post_attention_layernorm",),
    "layers.{}.mlp_norm": (f"{_LLAMA_LAYER}pre_feedforward_layernorm",),
    "layers.{}.mlp_out_norm": (f"{_LLAMA_LAYER}post_feedforward_layernorm",),
}
_GPT_LAYER = "transformer.h.{}."
_GPT_NAMES = {
    "embed": ("transformer.wte",),
    "positions": ("transformer.wpe",),
    "norm": ("transformer.ln_f",),
    "head": ("lm_head",),
    "layers.{}.attention_norm": (f"{_GPT_LAYER}ln_1",),
    "layers.{}.qkv": (f"{_GPT_LAYER}attn.c_attn",),
    "layers.{}.attention_out": (f"{_GPT_LAYER}attn.c_proj",),
    "layers.{}.mlp_norm": (f"{_GPT_LAYER}ln_2",),
    "layers.{}.mlp_in": (f"{_GPT_LAYER}mlp.c_fc",),
    "layers.{}.mlp_out": (f"{_GPT_LAYER}mlp.c_proj",),
}
_OPT_LAYER = "model.decoder.layers.{}."

# Each is compared with transformers/models/NAME/modeling_NAME.py in tests/models/test_families.py.
FAMILIES: dict[str, Family] = {
    "llama": Family(_LLAMA_NAMES),
    "mistral": Family(_LLAMA_NAMES),
    "qwen2": Family(_LLAMA_NAMES),
    "granite": Family(_LLAMA_NAMES),
    "smollm3": Family(_LLAMA_NAMES),
    "qwen3": Family(_LLAMA_NAMES | _QK_NORMS, qk_norm=True),
    "phi3": Family(
        _LLAMA_NAMES
        | {
            "layers.{}.qkv": (f"{_LLAMA_LAYER}self_attn.qkv_proj",),
            "layers.{}.mlp_in": (f"{_LLAMA_LAYER}mlp.gate_up_proj",),
        }
    ),
    "gemma": Family(_LLAMA_NAMES, stored_gain_offset=1.0, activation="gelu_tanh"),
    "gemma2": Family(
        _LLAMA_NAMES | _SANDWICH_NORMS, stored_gain_offset=1.0, activation="gelu_tanh", sandwich_norms=True
    ),
    "gemma3_text": Family(
        _LLAMA_NAMES | _QK_NORMS | _SANDWICH_NORMS,
        stored_gain_offset=1.0,
        activation="gelu_tanh",
        qk_norm=True,
        sandwich_norms=True,
    ),
    "starcoder2": Family(
        _LLAMA_NAMES
        | {"layers.{}.mlp_in": (f"{_LLAMA_LAYER}mlp.c_fc",), "layers.{}.mlp_out": (f"{_LLAMA_LAYER}mlp.c_proj",)},
        norm="layer",
        activation="gelu_tanh",
        gated=False,
    ),
    "gpt2": Family(_GPT_NAMES, norm="layer", transposed=True, positions="learned", activation="gelu_tanh", gated=False),
    "gpt_bigcode": Family(_GPT_NAMES, norm="layer", positions="learned", activation="gelu_tanh", gated=False),
    "opt": Family(
        {
            "embed": ("model.decoder.embed_tokens",),
            "positions": ("model.decoder.embed_positions",),
            "norm": ("model.decoder.final_layer_norm",),
            "head": ("lm_head",),
            "layers.{}.attention_norm": (f"{_OPT_LAYER}self_attn_layer_norm",),
            "layers.{}.qkv": tuple(f"{_OPT_LAYER}self_attn.{part}_proj" for part in "qkv"),
            "layers.{}.attention_out": (f"{_OPT_LAYER}self_attn.out_proj",),
            "layers.{}.mlp_norm": (f"{_OPT_LAYER}final_layer_norm",),
            "layers.{}.mlp_in": (f"{_OPT_LAYER}fc1",),
            "layers.{}.mlp_out": (f"{_OPT_LAYER}fc2",),
        },
        norm="layer",
        positions="learned",
        learned_position_offset=2,  # the first two rows of its table are unused
        activation="relu",
        gated=False,
    ),
}
