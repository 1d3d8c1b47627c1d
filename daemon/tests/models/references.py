"""Independent references: transformers' models with small random weights, one or more for each family; and our tiny decoder."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from green_code.models.hugging_face import map_hugging_face
from green_code.models.hugging_face_config import config_from_hugging_face
from green_code.models.tiny import TinySource
from green_code.models.torch_decoder import Decoder

_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    "rope_theta": 500000.0,
}  # fmt: skip
_BASE = {
    "vocab_size": 400,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_LLAMA = {**_BASE, "intermediate_size": 128, "num_key_value_heads": 2}
_GPT = {**_BASE, "n_inner": 192}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    # Odd sizes: the torch decoder runs any.
    "gemma3_text": ("gemma3_text", {
        "vocab_size": 131, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 7, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 24, "max_position_embeddings": 512,
    }),
    "llama": ("llama", {
        "vocab_size": 97, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4,
        "num_key_value_heads": 1, "max_position_embeddings": 512, "rope_parameters": _LLAMA3, "tie_word_embeddings": True,
    }),
    "llama-untied": ("llama", {
        "vocab_size": 97, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 512,
    }),
    "opt": ("opt", {
        "vocab_size": 89, "hidden_size": 48, "word_embed_proj_dim": 48, "ffn_dim": 96, "num_hidden_layers": 5,
        "num_attention_heads": 4, "max_position_embeddings": 512,
    }),
}  # fmt: skip
FAMILY_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**_LLAMA, "rope_parameters": _LLAMA3, "head_dim": 32}),
    "llama-biased": ("llama", {**_LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),  # Granite Code
    "llama-linear": ("llama", {**_LLAMA, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5}}),  # DeepSeek
    "mistral": ("mistral", {**_LLAMA, "sliding_window": 6, "head_dim": 32}),
    "gemma": ("gemma", {**_LLAMA, "head_dim": 32, "num_key_value_heads": 1}),
    "gemma2": ("gemma2", {
        **_LLAMA, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    }),
    "gemma3_text": ("gemma3_text", {**_LLAMA, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 20, "num_hidden_layers": 7}),
    "qwen2": ("qwen2", {**_LLAMA, "tie_word_embeddings": True}),
    "qwen2-window": ("qwen2", {**_LLAMA, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2}),
    "qwen3": ("qwen3", {**_LLAMA, "head_dim": 32}),
    "starcoder2": ("starcoder2", {**_LLAMA, "sliding_window": 6}),
    "granite": ("granite", {
        **_LLAMA, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0, "attention_multiplier": 0.1,
    }),
    "gpt2": ("gpt2", {**_GPT}),
    "gpt_bigcode": ("gpt_bigcode", {**_GPT, "activation_function": "gelu"}),  # as StarCoder has it
    "opt": ("opt", {**_BASE, "ffn_dim": 192}),
    "phi3": ("phi3", {**_LLAMA, "sliding_window": 6, "partial_rotary_factor": 0.5, "pad_token_id": 0}),
    "smollm3": ("smollm3", {
        **_LLAMA, "no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 6, "pad_token_id": 0,
    }),
}  # fmt: skip
"""A model for each family, and for what differs between its checkpoints; sizes that the kernel takes, and windows shorter than the
prompts."""


def random_model(kind: str, options: dict[str, Any], spread: float = 0.15) -> PreTrainedModel:
    """With weights of this standard deviation."""
    torch.manual_seed(0)
    special: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "attn_implementation": "eager"}
    special["init_std" if kind == "opt" else "initializer_range"] = spread
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**special, **options}))
    for parameter in model.parameters():  # gains of 1 and biases of 0 would hide a swapped or forgotten one
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 0.1 if parameter.mean() == 0 else 1.0, 0.2)
    return model.eval()


@functools.cache
def small_model(name: str) -> PreTrainedModel:
    """A random model of `SMALL`; not to be changed."""
    return random_model(*SMALL[name])


@functools.cache
def family_model(name: str) -> PreTrainedModel:
    """A random model of `FAMILY_MODELS`; not to be changed."""
    return random_model(*FAMILY_MODELS[name])


_CODE = [
    "def add(first, second):\n    return first + second\n",
    "for (int i = 0; i < count; i++) {\n\tsum += values[i];\n}\n",
    "const names = items.map((item) => item.name);\n",
]
FIM = {
    "qwen": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "llama": ("▁<PRE>", "▁<SUF>", "▁<MID>"),
}


def byte_level_tokenizer(fim: str, start: str | None = None) -> PreTrainedTokenizerFast:
    """Like GPT-2's, StarCoder's and Qwen's: pieces of the bytes' alphabet, special tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator(_CODE, trainer)
    return _wrapped(tokenizer, fim, start, "<|endoftext|>")


def sentencepiece_tokenizer(fim: str, start: str | None = "<s>") -> PreTrainedTokenizerFast:
    """Like Llama 2's: a space before the text, ▁ for spaces, tokens for single bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        _CODE, trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False)
    )
    described = json.loads(tokenizer.to_str())
    described["model"] |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < 3]
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    return _wrapped(tokenizer, fim, start, "</s>")


def _wrapped(tokenizer: Tokenizer, fim: str, start: str | None, end: str) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in (*FIM[fim], *([start] if start else []))])
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=start, eos_token=end)


def save_folder(folder: Path, name: str, tokenizer: PreTrainedTokenizerFast, **options: Any) -> Path:
    """A model of `FAMILY_MODELS` in the hub's own layout."""
    family_model(name).save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return folder


def logits_at_all_depths(name: str, tokens: list[int]) -> list[torch.Tensor]:
    """(N, V) at depth 1 … L: transformers' own states through its own final norm and head, as an exit reads them."""
    reference = family_model(name)
    before: list[torch.Tensor] = []
    body = next(module for module in reference.modules() if isinstance(module, torch.nn.ModuleList))
    hooks = [
        layer.register_forward_hook(lambda _m, _a, out: before.append(out[0] if isinstance(out, tuple) else out))
        for layer in body
    ]
    final: list[torch.Tensor] = []
    norm = next(
        module
        for path, module in reference.named_modules()
        if path in ("model.norm", "transformer.ln_f", "model.decoder.final_layer_norm")
    )
    swap = norm.register_forward_pre_hook(lambda _m, _a: (final[0],) if final else None)
    try:
        with torch.no_grad():
            logits = [reference(torch.tensor([tokens])).logits[0]]
            depths = list(before)
            for state in depths[:-1]:  # a pass whose final norm gets the state at a lower depth
                final[:] = [state]
                logits.append(reference(torch.tensor([tokens])).logits[0])
    finally:
        for hook in (*hooks, swap):
            hook.remove()
    return [*logits[1:], logits[0]]


def ours(reference: PreTrainedModel) -> Decoder:
    """Our decoder with the reference's weights."""
    config = config_from_hugging_face(reference.config.to_dict())
    state = {name: weight.numpy() for name, weight in reference.state_dict().items()}
    return Decoder.load(config, dict(map_hugging_face(config, state.get)))


def tiny() -> Decoder:
    """The decoder of `tiny-random`."""
    source = TinySource()
    return Decoder.load(source.config, dict(source.tensors(None)))
