"""What several experiments share: which rows and files are completed and how, and the loaded model in the forms that are compared."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from green_code.cli.demo import samples
from green_code.decoding.bundle_contents import read_contents
from green_code.decoding.drafter import Drafter
from green_code.decoding.exit_policies import Full, Policy
from green_code.decoding.kv_cache import KVCache
from green_code.decoding.price_book import PriceBook
from green_code.decoding.prompt_lookup import PromptLookup
from green_code.decoding.propagation import EXACT_TAIL, PropagatingKVCache
from green_code.decoding.speculative import decode
from green_code.decoding.verifier import Decoded, Verifier
from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.link.messages import CompletionParams, Decoding
from green_code.models.bundle import KV_PROJECTIONS, Bundle, bundle_of
from green_code.problems import Problem
from green_code.settings import PROMPT_TOKENS, TOKENS_PER_LINE
from green_code_lab.corpus import open_corpus
from green_code_lab.devices import open_on
from green_code_lab.evaluation.datasets import Row, line_rows, load_rows
from green_code_lab.evaluation.held_out import held_out_documents
from green_code_lab.experiments.experiment import Args
from green_code_lab.experiments.plots import language_name

Mode = Literal["exact", "fast"]
UNTOUCHED = "untouched"
Place = TypeVar("Place")
Scored = Sequence[dict[str, Any]]
"""Completions with their scores, in the order of the rows."""


def choose_rows(runtime: Runtime, args: Args) -> tuple[list[Row], dict[str, Any]]:
    """At most `args.limit` rows per language, drawn with `args.seed`, and settings for the page that say which.

    Raises:
        Problem: a file or the corpus cannot be read, or there are no rows.
    """
    generator, drawn = random.Random(args.seed), list[Row]()
    if args.data:
        rows = [row for path in args.data for row in load_rows(path)]
        source = f"rows of {' and '.join(path.name for path in args.data)}"
    else:
        texts, source = _documents(runtime, args)
        rows, source = line_rows(iter(texts), len(texts), args.seed), f"lines of {source}, cut at random places"  # fmt: skip
    if not rows:
        raise Problem("bad_request", f"There are no {source}; give files that hold rows with --data.")
    for language in sorted({row.language for row in rows}):
        own = [row for row in rows if row.language == language]
        drawn += generator.sample(own, min(args.limit, len(own)))
    completion = f"at most {TOKENS_PER_LINE} tokens, after at most {PROMPT_TOKENS} tokens of prompt"
    return drawn, {**_settings(runtime, args, source, [row.language for row in drawn]), "completion": completion}  # fmt: skip


def choose_files(
    runtime: Runtime, args: Args, place_in: Callable[[str, str, random.Random], Place | None]
) -> tuple[list[Place], dict[str, Any]]:
    """At most `args.limit` places per language, a file each, and settings for the page that say which.

    Args:
        place_in: of a language and a file's text; None: the file is too short.
    Raises:
        Problem: the corpus cannot be read, or no file is long enough.
    """
    (texts, source), generator = _documents(runtime, args), random.Random(args.seed)
    generator.shuffle(texts)
    places: dict[str, list[Place]] = {language: [] for language in sorted({language for language, _ in texts})}
    for language, text in texts:
        if len(places[language]) < args.limit and (place := place_in(language, text, generator)) is not None:
            places[language].append(place)
    if not any(places.values()):
        raise Problem("bad_request", f"No file is long enough among {source}.")
    languages = [language for language, own in places.items() for _ in own]
    return [place for own in places.values() for place in own], _settings(runtime, args, source, languages)


def _documents(runtime: Runtime, args: Args) -> tuple[list[tuple[str, str]], str]:
    """(language, text) of whole files; and where they are from."""
    corpus, vocabulary = args.work / "corpus", runtime.vocabulary
    if corpus.is_dir():
        held_out = held_out_documents(open_corpus(corpus, vocabulary, 1, 1), vocabulary)
        return list(held_out), "files of held-out projects of the corpus"
    texts = [("java" if name.endswith(".java") else "python", "".join(parts)) for name, *parts in samples()]
    return texts, "the demo's files (too few for figures: make a corpus)"


def _settings(runtime: Runtime, args: Args, source: str, languages: list[str]) -> dict[str, Any]:
    counts = (f"{number} of {language_name(name)}" for name, number in Counter(languages).items())
    return {"data": f"{source}; {' and '.join(counts)}, drawn with seed {args.seed}", **facts(runtime)}


def facts(runtime: Runtime) -> dict[str, Any]:
    """Settings for a page: what of the runtime shapes `fast`, and where joules are from."""
    return {
        "exits": f"{', '.join(map(str, runtime.exits))} of {runtime.layers_total} layers",
        "prefill exit": runtime.prefill_exit or "none",
        "joules": f"what was computed times fitted costs (source: {runtime.energy_source}), no reading of a meter",
    }


def by_policy(model: str, decoding: Decoding, policy: str, threshold: float = 1.0) -> CompletionParams:
    """How a line is completed."""
    return completion_params("", model=model, decoding=decoding, policy=policy, threshold=threshold)


def by_language(*results: Scored) -> Iterator[tuple[str, list[Scored]]]:
    """Each language of the first results, and its part of all of them."""
    for language in dict.fromkeys(row["language"] for row in results[0]):
        yield language, [[row for row in rows if row["language"] == language] for rows in results]


def untouched(adapted: Runtime) -> Runtime:
    """The base model with the same vocabulary. Its costs are the same, since costs are those of the shape."""
    bare = bare_bundle(adapted.model)
    return adapted if bare is None else _with_bundle(adapted, bare)


def without_kv_projections(served: Runtime) -> Runtime:
    """The same model and bundle, but each layer's own projections make the keys and values that are propagated."""
    bundle = bundle_of(served.model)
    if bundle is None or bundle.part(KV_PROJECTIONS) is None:
        return served
    return _with_bundle(served, bundle.without(KV_PROJECTIONS))


def bare_bundle(model: str) -> Bundle | None:
    """A model's bundle with nothing of it but the vocabulary; None where it has no bundle."""
    bundle = bundle_of(model)
    return bundle.bare if bundle is not None else None


def _with_bundle(served: Runtime, bundle: Bundle) -> Runtime:
    contents = read_contents(bundle)
    weights = bundle if bundle.changes_weights else None  # else they would be converted twice, for each key
    opened = open_on(served.device, served.model, weights)
    return Runtime(served.model, opened, contents, served.costs, served.device)


def trained_exits(adapted: Runtime) -> tuple[int, ...]:
    """The layers that adaptation trained as exits; an agent may decide at fewer. Of a bundle without training, its exits."""
    if (bundle := bundle_of(adapted.model)) is None:
        return adapted.exits
    recipe = bundle.manifest.get("training", {}).get("recipe", {})
    return tuple(sorted(itertools.chain(*recipe.get("exit_groups", [])))) or adapted.exits


def drafting_policy(runtime: Runtime) -> str:
    """The agent where the bundle has one; else its first exit, else none."""
    if runtime.agent is not None:
        return "agent"
    return f"fixed:{runtime.exits[0]}" if runtime.exits else "full"


def without_drafts(cache: KVCache, runtime: Runtime, policy: Policy) -> Iterator[Decoded]:
    """Tokens behind the cache's last position, without end."""
    chooser = runtime.chooser
    drafter = Drafter.without_drafts(runtime.layers_total, chooser)
    return decode(cache, drafter, Verifier(policy, chooser))


def stream(
    runtime: Runtime, prompt: Sequence[int], policy: Policy, served: Mode | None, max_tokens: int
) -> tuple[KVCache, Iterator[Decoded]]:
    """Tokens behind a prompt, cold, which no stop rule ends.

    Args:
        served: None: without drafts, and the prompt goes as deep as the tokens. Else as a session completes: prompt lookup
            drafts, and in `fast` the prompt stops at the bundle's prefill exit.
    Returns:
        The cache, which counts the work, and the tokens.
    """
    chooser, layers = runtime.chooser, runtime.layers_total
    cache = PropagatingKVCache(runtime.decoder, runtime.prefill_exit if served == "fast" else None)
    cache.append(prompt)
    if served is None:
        return cache, without_drafts(cache, runtime, policy)
    cache.propagate_before(len(prompt) - EXACT_TAIL)
    lookup = PromptLookup(runtime.vocabulary, layers, runtime.ngrams)
    lookup.document.follow(prompt)
    drafting, deciding = (policy, Full()) if served == "exact" else (Full(), policy)
    drafter = Drafter(PriceBook(runtime.costs.prices, layers), lookup, drafting, chooser)
    return cache, decode(cache, drafter, Verifier(deciding, chooser), max_tokens=max_tokens)
