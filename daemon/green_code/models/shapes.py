"""The weights of a configuration: their names (`families.Family.names`) and shapes."""

from __future__ import annotations

from green_code.models.config import ModelConfig

HEAD, EMBEDDING, POSITIONS = "head.weight", "embed.weight", "positions.weight"


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Matrices are (outputs, inputs), tables (rows, C), gains and biases vectors."""
    row, query = config.row, config.heads * config.head_width
    matrices = {
        "qkv": (query + 2 * config.kv_heads * config.head_width, config.width),
        "attention_out": (config.width, query),
        "mlp_in": ((2 if row.gated else 1) * config.mlp_width, config.width),
        "mlp_out": (config.width, config.mlp_width),
    }
    biased = {
        "qkv": config.qkv_bias,
        "attention_out": config.attention_out_bias,
        "mlp_in": config.mlp_bias,
        "mlp_out": config.mlp_bias,
    }
    norms = {"attention_norm": config.width, "mlp_norm": config.width}
    if row.qk_norm:
        norms |= {"q_norm": config.head_width, "k_norm": config.head_width}
    if row.sandwich_norms:
        norms |= {"attention_out_norm": config.width, "mlp_out_norm": config.width}

    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(
            (f"{name}.weight", f"{name}.bias") if row.norm == "layer" else (f"{name}.weight",), (width,)
        )

    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocabulary, config.width)}
    if row.positions == "learned":
        shapes[POSITIONS] = (config.max_positions + row.learned_position_offset, config.width)
    for layer in (f"layers.{i}." for i in range(config.layers)):
        for name, shape in matrices.items():
            shapes[f"{layer}{name}.weight"] = shape
            if biased[name]:
                shapes[f"{layer}{name}.bias"] = shape[:1]
        for name, width in norms.items():
            shapes |= norm(layer + name, width)
    shapes |= norm("norm", config.width)
    return shapes if config.tied_head else shapes | {HEAD: (config.vocabulary, config.width)}
