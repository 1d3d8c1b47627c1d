"""A decoder that is small enough to be trained hundreds of times on a CPU, and its corpus.

It is a decoder of Llama's kind over the corpus's most frequent tokens; the others are one token. It is trained once, at its last
layer alone, so that what follows has a model to preserve. Embeddings, which are its head too, stay as they were drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from green_code.models.config import ModelConfig, Rope
from green_code.models.shapes import weight_shapes
from green_code_lab.corpus import Corpus
from green_code_lab.lite import checkpoint
from green_code_lab.lite.recipe import Recipe
from green_code_lab.lite.trainer import TrainingInputs, train

_HEAD_WIDTH = 32
_SCORED = 1_024  # positions per language, before and after its first training
_NORM_GAIN = 2.0  # of the last norm: as the head's rows have about unit length, logits reach 2·√width


@dataclass(frozen=True)
class SmallModel:
    """
    Attributes:
        vocabulary: tokens, the one for all others included.
        learned: tokens of its first training. rate: the learning rate's peak in it.
    """

    layers: int = 10
    width: int = 64
    vocabulary: int = 1024
    learned: int = 300_000
    rate: float = 3e-3
    seed: int = 0

    @property
    def config(self) -> ModelConfig:
        heads = self.width // _HEAD_WIDTH
        return ModelConfig(
            family="llama", layers=self.layers, width=self.width, heads=heads, kv_heads=heads // 2, head_width=_HEAD_WIDTH,
            mlp_width=2 * self.width, vocabulary=self.vocabulary, norm_eps=1e-5, max_positions=512,
            attention_scale=_HEAD_WIDTH**-0.5, tied_head=True, windows=(None,) * self.layers, ropes=(Rope(1e4),) * self.layers,
            embedding_scale=self.width**0.5,
        )  # fmt: skip

    @property
    def recipe(self) -> Recipe:
        """Of its first training: the last layer alone, without a teacher."""
        return Recipe(
            exit_groups=(), weights=((self.layers, 1.0),), tokens=self.learned, learning_rate=self.rate, warm_up_steps=20,
            final_rate_share=0.1, weight_decay=0.01, document_starts=0.25, batch=4, micro_batch=4, guard_tokens=self.learned,
            seed=self.seed,
        )  # fmt: skip

    def drawn(self) -> dict[str, Tensor]:
        """Weights before any training: normal, of variance 1 / inputs; what is added to the residual stream is √(2·layers) smaller."""
        generator, found = torch.Generator().manual_seed(self.seed), dict[str, Tensor]()
        for name, shape in weight_shapes(self.config).items():
            if len(shape) == 1:
                found[name] = torch.full(shape, _NORM_GAIN if name == "norm.weight" else 1.0)
                continue
            share = 2 * self.layers if "_out." in name else 1
            found[name] = torch.randn(shape, generator=generator) * (share * shape[1]) ** -0.5
        return found

    def inputs(self, corpus: Corpus, digest: str) -> TrainingInputs:
        """Of its first training. corpus: of `with_frequent_tokens`; digest: of the corpus that this was made of."""
        subject = {"corpus": digest, "small model": repr(self)}
        return TrainingInputs(
            self.config, lambda _: self.drawn(), corpus, corpus.document_marker, subject, scored_positions=_SCORED
        )


def learned_weights(
    model: SmallModel, inputs: TrainingInputs, run: Path, report: Callable[[str], None]
) -> dict[str, Tensor]:
    """The model's weights after its first training, which goes on in, or is read from, the folder `run`.

    Raises Problem as `train` does.
    """
    train(inputs, model.recipe, run, report)
    state = checkpoint.load(run)
    assert state is not None  # written at the end
    return {**model.drawn(), **checkpoint.weights(run, state)}


def with_frequent_tokens(corpus: Corpus, size: int) -> tuple[Corpus, float]:
    """The corpus in the ids 0 to `size` − 1, where the last one stands for all less frequent tokens; and the share of the
    training tokens that kept an id of their own. The marker of documents always does."""
    counts = corpus.token_counts()
    order = np.argsort(-counts, kind="stable")
    kept = np.append(corpus.document_marker, order[order != corpus.document_marker])[: size - 1]
    longest = max(int(shard.max()) for shard in corpus.shards.values()) + 1
    ids = np.full(max(longest, len(counts)), size - 1, np.min_scalar_type(size))
    ids[kept] = np.arange(len(kept))
    return Corpus({name: ids[shard] for name, shard in corpus.shards.items()}, 0), float(
        counts[kept].sum() / counts.sum()
    )
