"""A bundle's contents besides its weight delta, read whole in one place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from green_code.decoding.exit_classifier import ExitClassifier, load_exit_classifier
from green_code.decoding.ngram_table import NgramTable, read_ngram_table
from green_code.decoding.stop_network import StopNetwork, load_stop_network
from green_code.decoding.value_heads import ValueHeads, load_value_heads
from green_code.models.adapters import Adapters, read_adapters, read_part
from green_code.models.bundle import AGENT, NGRAMS, STOP_AGENT, VALUE_HEADS, Bundle
from green_code.models.config import ModelConfig
from green_code.models.vocabulary import Vocabulary
from green_code.problems import Problem


@dataclass(frozen=True)
class BundleContents:
    """None: the bundle has no such file, or there is no bundle."""

    bundle: Bundle | None = None
    classifier: ExitClassifier | None = None
    ngrams: NgramTable | None = None
    stop_network: StopNetwork | None = None
    value_heads: ValueHeads | None = None

    @cached_property
    def adapters(self) -> Adapters:
        """Lenses, KV projections and SVD directions: a tenth of a second, so only a conversion and a check read them.

        Raises:
            Problem: see `models.adapters.read_adapters`.
        """
        return read_adapters(self.bundle)

    def check_fit(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        """The adapters are checked when weights are converted (models/weights.py).

        Raises:
            Problem: the agent or the n-grams are of another model.
        """
        bundle, classifier = self.bundle, self.classifier
        if bundle is None:
            return
        if classifier and (classifier.width != config.width or bundle.exits[-1] >= config.layers):
            raise Problem(
                "bundle_invalid",
                f"bundle {bundle.name}: its agent is for width {classifier.width}, exits {bundle.exits}, the model has width {config.width} and {config.layers} layers; retrain with `green-code train`.",
            )
        heads = self.value_heads
        if heads and (heads.width != config.width or heads.depths[-1] >= config.layers):
            raise Problem(
                "bundle_invalid",
                f"bundle {bundle.name}: its value heads are for width {heads.width} and layers {heads.depths}, the model has width {config.width} and {config.layers} layers; retrain with `green-code train stops`.",
            )
        if self.ngrams is not None and (
            self.ngrams.vocabulary_digest != vocabulary.digest or self.ngrams.greatest_token >= config.vocabulary
        ):
            raise Problem(
                "bundle_invalid",
                f"bundle {bundle.name}: {NGRAMS} is counted in tokens of another vocabulary; count it anew with `green-code adapt ngrams`.",
            )


def read_contents(bundle: Bundle | None) -> BundleContents:
    """
    Raises:
        Problem: a file is damaged, holds NaN, or does not fit the rest of the bundle.
    """
    if bundle is None:
        return BundleContents()
    agent = bundle.part(AGENT)
    return BundleContents(
        bundle,
        load_exit_classifier(agent, bundle.exits) if agent is not None else None,
        read_part(bundle, NGRAMS, read_ngram_table),
        load_stop_network(stopping) if (stopping := bundle.part(STOP_AGENT)) is not None else None,
        load_value_heads(values) if (values := bundle.part(VALUE_HEADS)) is not None else None,
    )
