"""A bundle's contents besides its weight delta, read whole in one place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from green_code.decoding.exit_classifier import ExitClassifier, load_exit_classifier
from green_code.decoding.ngram_table import NgramTable, read_ngram_table
from green_code.decoding.stop_network import StopNetwork, load_stop_network
from green_code.decoding.value_heads import ValueHeads, load_value_heads
from green_code.models.adapters import Adapters, read_adapters
from green_code.models.bundle import AGENT, MANIFEST, NGRAMS, STOP_AGENT, VALUE_HEADS, Bundle
from green_code.models.config import ModelConfig
from green_code.models.vocabulary import Vocabulary


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
        """The adapters are checked when weights are converted (models/conversion.py).

        Raises:
            Problem: the exits, an agent or the n-grams are of another model.
        """
        bundle, classifier, heads, ngrams = self.bundle, self.classifier, self.value_heads, self.ngrams
        if bundle is None:
            return
        has = f"the model has width {config.width} and {config.layers} layers"
        deepest = max((*bundle.exits[-1:], bundle.prefill_exit or 0))
        if deepest >= config.layers:
            raise bundle.refusal(
                f"{MANIFEST} has an exit at layer {deepest}, {has}", "adapt it anew with `green-code adapt`"
            )
        if classifier and classifier.width != config.width:
            raise bundle.refusal(f"{AGENT} is for width {classifier.width}, {has}", "retrain with `green-code train`")
        if heads and (heads.width != config.width or heads.depths[-1] >= config.layers):
            what = f"{VALUE_HEADS} is for width {heads.width} and layers {heads.depths}, {has}"
            raise bundle.refusal(what, "retrain with `green-code train stops`")
        if ngrams is None:
            return
        if ngrams.vocabulary_digest != vocabulary.digest or ngrams.greatest_token >= len(vocabulary):
            what = f"{NGRAMS} is counted in tokens of another vocabulary"
            raise bundle.refusal(what, "count it anew with `green-code adapt ngrams`")


def read_contents(bundle: Bundle | None) -> BundleContents:
    """
    Raises:
        Problem: a file is damaged, holds NaN, or does not fit the rest of the bundle.
    """
    if bundle is None:
        return BundleContents()
    return BundleContents(
        bundle,
        bundle.read(AGENT, lambda path: load_exit_classifier(path, bundle.exits)),
        bundle.read(NGRAMS, read_ngram_table),
        bundle.read(STOP_AGENT, load_stop_network),
        bundle.read(VALUE_HEADS, load_value_heads),
    )
