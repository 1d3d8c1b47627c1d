"""Independent references: transformers' models with small random weights, one for each family; and our tiny decoder."""

from __future__ import annotations

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from green_code.models.decoder import Decoder
from green_code.models.families import config_from_hugging_face
from green_code.models.sources import map_hugging_face
from green_code.models.tiny import TinySource


def small_models() -> dict[str, PreTrainedModel]:
    """Random models of every family, with odd sizes, and windows shorter than the test prompts."""
    torch.manual_seed(0)
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 500000.0,
    }
    models: dict[str, PreTrainedModel] = {
        "gemma3_text": Gemma3ForCausalLM(
            Gemma3TextConfig(
                vocab_size=131, hidden_size=48, intermediate_size=72, num_hidden_layers=7, num_attention_heads=4,
                num_key_value_heads=2, head_dim=16, sliding_window=6, query_pre_attn_scalar=24, max_position_embeddings=512,
            )
        ),
        "llama": LlamaForCausalLM(
            LlamaConfig(
                vocab_size=97, hidden_size=64, intermediate_size=80, num_hidden_layers=5, num_attention_heads=4,
                num_key_value_heads=1, max_position_embeddings=512, rope_parameters=llama3, tie_word_embeddings=True,
            )
        ),
        "llama-untied": LlamaForCausalLM(
            LlamaConfig(vocab_size=97, hidden_size=64, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=512)
        ),
        "opt": OPTForCausalLM(
            OPTConfig(vocab_size=89, hidden_size=48, word_embed_proj_dim=48, ffn_dim=96, num_hidden_layers=5, num_attention_heads=4, max_position_embeddings=512)
        ),
    }  # fmt: skip
    for model in models.values():
        for parameter in model.parameters():  # gains of 1 would hide a swapped or forgotten one
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, 0.1 if parameter.mean() == 0 else 1.0, 0.2)
        model.eval()
    return models


def ours(reference: PreTrainedModel) -> Decoder:
    """Our decoder with the reference's weights."""
    config = config_from_hugging_face(reference.config.to_dict())
    state = reference.state_dict()
    return Decoder.load(
        config, dict(map_hugging_face(config, lambda key: state[key].numpy() if key in state else None))
    )


def tiny() -> Decoder:
    """The decoder of `tiny-random`."""
    source = TinySource()
    return Decoder.load(source.config, dict(source.tensors(None)))
