"""What a bundle adds to its model's weights: the exit agent and the table of n-grams; checked against the model."""

from __future__ import annotations

from dataclasses import dataclass

from green_code.decoding.corpus_ngrams import CorpusNgrams, load_corpus_ngrams
from green_code.decoding.exit_network import ExitNetwork, load_exit_network
from green_code.models.bundle import AGENT, NGRAMS, Bundle
from green_code.models.weights import Model
from green_code.problems import Problem


@dataclass(frozen=True)
class Parts:
    """None: the bundle has no such part."""

    network: ExitNetwork | None = None
    ngrams: CorpusNgrams | None = None


def load_parts(bundle: Bundle, opened: Model) -> Parts:
    """
    Raises:
        Problem: a part is damaged, or made for another model.
    """
    return Parts(_network(bundle, opened), _ngrams(bundle, opened))


def _network(bundle: Bundle, opened: Model) -> ExitNetwork | None:
    if (path := bundle.part(AGENT)) is None:
        return None
    network, config = load_exit_network(path, bundle.exits), opened.decoder.config
    if network.width != config.width or bundle.exits[-1] >= config.layers:
        raise Problem(
            "bundle_invalid",
            f"bundle {bundle.name}: its agent is for width {network.width}, exits {bundle.exits}, the model has width {config.width} and {config.layers} layers; retrain with `green-code train`.",
        )
    return network.to(opened.decoder.device)


def _ngrams(bundle: Bundle, opened: Model) -> CorpusNgrams | None:
    if (path := bundle.part(NGRAMS)) is None:
        return None
    try:
        return load_corpus_ngrams(path, opened.vocabulary.digest)
    except ValueError as error:
        raise Problem(
            "bundle_invalid",
            f"bundle {bundle.name}: {NGRAMS}: {error}; count it anew with `green-code adapt ngrams`.",
        ) from error
