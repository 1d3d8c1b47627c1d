"""What a bundle adds to its model's weights: the exit agent and the table of n-grams; checked against the model."""

from __future__ import annotations

from dataclasses import dataclass

from green_code.decoding.exit_classifier import ExitClassifier, load_exit_classifier
from green_code.decoding.ngram_table import NgramTable, load_ngram_table
from green_code.models.bundle import AGENT, NGRAMS, Bundle
from green_code.models.families import ModelConfig
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem


@dataclass(frozen=True)
class Parts:
    """None: the bundle has no such part."""

    network: ExitClassifier | None = None
    ngrams: NgramTable | None = None


def load_parts(bundle: Bundle, config: ModelConfig, vocabulary: Vocabulary) -> Parts:
    """The parts of a bundle, on the CPU, for a model of this configuration and vocabulary.

    Raises:
        Problem: a part is damaged, or made for another model.
    """
    return Parts(_network(bundle, config), _ngrams(bundle, vocabulary))


def _network(bundle: Bundle, config: ModelConfig) -> ExitClassifier | None:
    if (path := bundle.part(AGENT)) is None:
        return None
    network = load_exit_classifier(path, bundle.exits)
    if network.width != config.width or bundle.exits[-1] >= config.layers:
        raise Problem(
            "bundle_invalid",
            f"bundle {bundle.name}: its agent is for width {network.width}, exits {bundle.exits}, the model has width {config.width} and {config.layers} layers; retrain with `green-code train`.",
        )
    return network


def _ngrams(bundle: Bundle, vocabulary: Vocabulary) -> NgramTable | None:
    if (path := bundle.part(NGRAMS)) is None:
        return None
    try:
        return load_ngram_table(path, vocabulary.digest)
    except ValueError as error:
        raise Problem(
            "bundle_invalid",
            f"bundle {bundle.name}: {NGRAMS}: {error}; count it anew with `green-code adapt ngrams`.",
        ) from error
