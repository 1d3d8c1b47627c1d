"""Hostile bundles: a good one for `tiny-random` with all its parts, and what may be wrong with each of its files.

`CASES` are systematic: every field missing, of another type, out of its range; every tensor missing, of another type, shape or value;
damaged headers. None of them may be served. `random_damage` changes bytes: what still is a bundle may be served.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from green_code.lsp.gate import SCHEMA as GATE_SCHEMA
from green_code.lsp.gate_features import NAMES
from green_code.models.adapters import LENS_BITS, PROJECTION_BITS, LinearAdapter, save_adapters
from green_code.models.bundle import (
    AGENT,
    CALIBRATION,
    DELTA,
    GATE,
    KV_PROJECTIONS,
    LENSES,
    MANIFEST,
    NGRAMS,
    STOP_AGENT,
    SVD_HEAD,
    VALUE_HEADS,
    VOCABULARY,
    refresh_manifest,
    write_manifest,
)
from green_code.models.delta import save_delta
from green_code.models.tiny import TinySource
from green_code.models.vocabulary import Vocabulary
from green_code.settings import STOPS
from tests.decoding.networks import exit_classifier, stop_network, value_heads
from tests.decoding.ngram_tables import columns

NAME = "tiny-random"
EXITS, PREFILL_EXIT = (2, 4), 3
DEPTHS = (1, 2)  # of value heads
_IDS = range(360)  # of 370
_CONFIG = TinySource().config
_NESTED = 100_000
Change = Callable[[Path], None]
Tensors = dict[str, np.ndarray]


def write_good_bundle(folder: Path) -> Path:
    """A bundle with every part, in a new folder."""
    folder.mkdir(parents=True)
    width, both = _CONFIG.width, 2 * _CONFIG.kv_heads * _CONFIG.head_width
    generator = np.random.default_rng(0)

    def adapter(outputs: int) -> LinearAdapter:
        matrix = generator.normal(0, 0.01, (outputs, width)).astype(np.float32)
        return LinearAdapter(matrix, np.ones(width, np.float32))

    save_file({"ids": np.array(_IDS, np.int32)}, folder / VOCABULARY)
    weights = dict(TinySource().tensors(_IDS))
    matrix, gain = "layers.1.mlp_in.weight", "layers.1.mlp_norm.weight"
    changed = {name: weights[name] + np.float32(0.01) for name in (matrix, gain)}
    save_delta(folder / DELTA, weights, changed, {matrix: 3})
    save_adapters(folder / LENSES, {depth: adapter(width) for depth in EXITS}, LENS_BITS)
    above = range(PREFILL_EXIT + 1, _CONFIG.layers + 1)
    save_adapters(folder / KV_PROJECTIONS, {n: adapter(both) for n in above}, PROJECTION_BITS)
    save_file({"directions": np.eye(width, dtype=np.float16)}, folder / SVD_HEAD)
    exit_classifier(width, EXITS).save(folder / AGENT)
    stop_network().save(folder / STOP_AGENT)
    value_heads(width, DEPTHS, len(NAMES)).save(folder / VALUE_HEADS)
    tokenizer, bos, eos = TinySource().vocabulary(_IDS)
    digest = Vocabulary(tokenizer, bos, eos).digest
    save_file(columns({(5, 6): (7, 0.9)}, slots=64), folder / NGRAMS, {"vocabulary": digest})
    preset = {"threshold": 0.8, "saving": 0.3, "saved_joules": 0.5, "edit_similarity": 60.0}
    stops = {name: {"stop": 0.4, "refusal": {"1": 0.1, "2": 0.1}} for name in STOPS}
    _write(folder / CALIBRATION, {
        "presets": {"balanced": preset}, "curve": [{"threshold": 0.5, "agreement": 0.6}],
        "suggestions": {"presets": stops}, "reference": {"energy_source": "estimate"},
    })  # fmt: skip
    _write(folder / GATE, {
        "schema": GATE_SCHEMA, "features": list(NAMES), "weights": [0.1] * len(NAMES), "bias": 0.0,
        "bounds": dict.fromkeys(STOPS, 0.1),
    })  # fmt: skip
    base = {"model": NAME, "sha256": TinySource().fingerprint()}
    training = {"method": "LITE", "tokens": 1000, "joules": 10.0, "energy_source": "estimate"}
    manifest = {"base": base, "exits": list(EXITS), "prefill_exit": PREFILL_EXIT, "training": training}
    write_manifest(folder, {**manifest, "licences": {"delta": "Apache-2.0"}})
    return folder


@dataclass(frozen=True)
class Case:
    """What is done to a copy of the good bundle. The refusal must name `file`.

    `agrees`: the manifest's hash is made that of the changed file, so that only its contents are wrong.
    """

    name: str
    file: str
    change: Change
    agrees: bool = True

    def apply(self, folder: Path) -> None:
        self.change(folder)
        if self.agrees and self.file != MANIFEST:
            refresh_manifest(folder)


# --- JSON ---------------------------------------------------------------------------------------------------

_ABSENT = object()
_NUMBERS = (None, True, "0.5", [], {}, float("nan"), float("inf"), "1e999", "-1e999", -1e15, 10**400)
_WHOLE = (None, True, "2", [], {}, 1.5, 0, -1, 513, 2**31, 2**63, 10**400, float("nan"), "1e999")
_TEXTS = (None, True, 7, [], {})
_OBJECTS = (None, True, 7, "x", [], [1])
_LISTS = (None, True, 7, "x", {}, [None], [[]], ["x"])
_DIGESTS = (*_TEXTS, "", "00", "Z" * 64, "a" * 63, "a" * 65)
_SHARES = (*_NUMBERS, -0.01, 1.01)
_FIELDS: Mapping[str, tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]] = {
    MANIFEST: (
        (("schema",), (_ABSENT, None, "2", 0, 1, 3, 99, -1, 2.5, [], float("nan"))),
        (("base",), (_ABSENT, *_OBJECTS, {})),
        (("base", "model"), (_ABSENT, *_TEXTS, "")),
        (("base", "sha256"), (_ABSENT, *_DIGESTS, "0" * 64)),
        (("exits",), (_ABSENT, *_LISTS, [4, 2], [2, 2], [2, 6], [2, 7], [0, 2], [-1, 2], [True, 4], [1.5], [2, 2**40])),
        (("exits", 0), _WHOLE),
        (("files",), (_ABSENT, *_OBJECTS, {"../evil": "0" * 64}, {"/etc/passwd": "0" * 64}, {"": "0" * 64})),
        (("files", VOCABULARY), _DIGESTS),
        (("prefill_exit",), (True, "3", [], 1.5, 0, -1, 5, 6, 513, 2**70, float("nan"))),
        (("training",), (True, 7, "x", [])),
        (("training", "joules"), (True, "7", [], {}, float("nan"), "1e999", -1)),
        (("licences",), (None, True, 7, "x", [])),
    ),
    CALIBRATION: (
        (("presets",), _OBJECTS),
        (("presets", "balanced"), (*_OBJECTS, {})),
        (("presets", "balanced", "threshold"), (_ABSENT, *_SHARES)),
        (("presets", "balanced", "saving"), (_ABSENT, *_NUMBERS)),
        (("curve",), _LISTS),
        (("curve", 0, "agreement"), (_ABSENT, *_SHARES)),
        (("curve", 0, "threshold"), (_ABSENT, *_SHARES)),
        (("suggestions",), _OBJECTS),
        (("suggestions", "presets"), _OBJECTS),
        (("suggestions", "presets", "sure", "stop"), (_ABSENT, *_SHARES)),
        (("suggestions", "presets", "sure", "refusal"), _OBJECTS),
        (("suggestions", "presets", "sure", "refusal", "1"), (*_NUMBERS, -0.01)),
        (("reference",), _OBJECTS),
    ),
    GATE: (
        (("schema",), (_ABSENT, None, "1", 0, 99)),
        (("features",), (_ABSENT, *_LISTS, [])),
        (("weights",), (_ABSENT, *_LISTS, [], [0.1])),
        (("weights", 3), _NUMBERS),
        (("bias",), (_ABSENT, *_NUMBERS)),
        (("bounds",), (_ABSENT, *_OBJECTS, {})),
        (("bounds", "sure"), (_ABSENT, *_NUMBERS)),
    ),
}  # fmt: skip
"""File → where a field is, and what it may not be."""


def _write(path: Path, content: Any) -> None:
    """JSON in which 1e999 stands as it is."""
    text = json.dumps(content)
    for number in ("1e999", "-1e999"):
        text = text.replace(f'"{number}"', number)
    path.write_text(text, "utf-8")


def _set_field(file: str, place: tuple[Any, ...], value: Any) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text("utf-8"))
        parent = content
        for key in place[:-1]:
            parent = parent[key]
        if value is _ABSENT:
            del parent[place[-1]]
        else:
            parent[place[-1]] = copy.deepcopy(value)
        _write(folder / file, content)

    return change


def _replace_by(file: str, content: bytes) -> Change:
    return lambda folder: _ignore((folder / file).write_bytes(content))


def _ignore(_: object) -> None:
    """A change returns nothing."""


def _json_cases() -> Iterator[Case]:
    for file, fields in _FIELDS.items():
        for place, values in fields:
            for value in values:
                shown = "absent" if value is _ABSENT else repr(value)[:24]
                yield Case(f"{file} {'.'.join(map(str, place))} {shown}", file, _set_field(file, place, value))
        nested = b'{"x": ' + b"[" * _NESTED + b"]" * _NESTED + b"}"
        for name, content in {
            "empty": b"", "list": b"[]", "null": b"null", "number": b"7", "text": b'"x"', "not JSON": b"{", "binary": bytes(range(256)),
            "nested": nested, "nested without an end": b"[" * _NESTED, "of objects": b'{"x":' * _NESTED, "half a character": b'{"x": "\xff"}',
            "huge": b'{"x": "' + b"a" * (1 << 24) + b'"}',
        }.items():  # fmt: skip
            yield Case(f"{file} {name}", file, _replace_by(file, content))


# --- tensors ------------------------------------------------------------------------------------------------


def _with_tensors(file: str, edit: Callable[[Tensors, dict[str, str]], None]) -> Change:
    def change(folder: Path) -> None:
        with safe_open(str(folder / file), framework="np") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
            metadata = dict(opened.metadata() or {})
        edit(tensors, metadata)
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / file, metadata)

    return change


def _without(name: str) -> Callable[[Tensors, dict[str, str]], None]:
    return lambda tensors, _: _ignore(tensors.pop(name))


def _edit(name: str, made: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors, dict[str, str]], None]:
    return lambda tensors, _: tensors.update({name: made(tensors[name])})


def _fill(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def made(tensor: np.ndarray) -> np.ndarray:
        changed = tensor.copy()
        changed.reshape(-1)[0] = value
        return changed

    return made


_ANY: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "empty": lambda t: t[:0],
    "one row less": lambda t: t[:-1],
    "one row more": lambda t: np.concatenate((t, t[:1])),
    "another dimension": lambda t: t[None],
    "a number": lambda t: t.reshape(-1)[0].reshape(()),
    "booleans": lambda t: t.astype(bool),
}
_FLOATS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "NaN": _fill(float("nan")),
    "infinity": _fill(float("-inf")),
    "integers": lambda t: np.ones(t.shape, np.int64),
    "too large for float32": lambda t: np.full(t.shape, 1e300),
}
_MATRICES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "a column less": lambda t: t[:, :-1],
    "a column more": lambda t: np.concatenate((t, t[:, :1]), 1),
    "twice as wide": lambda t: np.concatenate((t, t), 1),
}
_IDS_WRONG: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "negative": _fill(-1), "out of range": _fill(370), "far out of range": _fill(2**31 - 1), "twice": _fill(9),
    "floats": lambda t: t.astype(np.float32), "too few": lambda t: t[:200], "without an end": lambda t: t[1:], "empty": lambda t: t[:0],
    "matrix": lambda t: t[None], "beyond 64 bits": lambda t: np.where(t == 5, np.uint64(2**64 - 1), t.astype(np.uint64)),
    "booleans": lambda t: t.astype(bool),
}  # fmt: skip
_TENSORS: Mapping[str, Mapping[str, tuple[Mapping[str, Callable[[np.ndarray], np.ndarray]], ...]]] = {
    DELTA: {
        "layers.1.mlp_in.weight:codes": (_ANY,),
        "layers.1.mlp_in.weight:scales": (_ANY, _FLOATS),
        "layers.1.mlp_norm.weight:vector": (_ANY, _FLOATS),
    },
    LENSES: {"2:codes": (_ANY,), "2:scales": (_ANY, _FLOATS, _MATRICES), "2:gain": (_ANY, _FLOATS)},
    KV_PROJECTIONS: {"5:codes": (_ANY,), "5:scales": (_ANY, _FLOATS, _MATRICES), "5:gain": (_ANY, _FLOATS)},
    AGENT: {
        "inner.weight": (_ANY, _MATRICES, _FLOATS), "exit_bias.weight": (_ANY, _MATRICES, _FLOATS), "action.bias": (_ANY, _FLOATS),
    },
    STOP_AGENT: {
        "0.weight": (_ANY, _MATRICES, _FLOATS), "2.weight": (_ANY, _MATRICES, _FLOATS), "2.bias": (_ANY, _FLOATS),
    },
    VALUE_HEADS: {"1.weight": (_ANY, _FLOATS), "2.bias": (_ANY, _FLOATS)},
    NGRAMS: {
        "checks": (_ANY,), "chances": (_ANY,),
        "tokens": (_ANY, {"beyond the vocabulary": lambda t: np.full_like(t, 65_535)}),
    },
    VOCABULARY: {"ids": (_IDS_WRONG,)},
}  # fmt: skip
_HARMLESS = {
    (file, name, "integers")
    for file, names in ((AGENT, ("inner.weight", "exit_bias.weight", "action.bias")), (STOP_AGENT, ("0.weight", "2.weight", "2.bias")),
                        (VALUE_HEADS, ("1.weight", "2.bias")))
    for name in names
} | {(STOP_AGENT, "2.bias", "a number"), (VALUE_HEADS, "2.bias", "a number")}  # fmt: skip
"""Whole numbers are weights, too, and one number is a vector of one."""


def _directions(rows: int, width: int) -> Change:
    return _with_tensors(SVD_HEAD, lambda tensors, _: tensors.update(directions=np.ones((rows, width), np.float16)))


def _metadata(file: str, key: str, value: str | None) -> Change:
    def edit(_: Tensors, metadata: dict[str, str]) -> None:
        metadata.pop(key, None)
        if value is not None:
            metadata[key] = value

    return _with_tensors(file, edit)


def _copied_to(depth: str) -> Callable[[Tensors, dict[str, str]], None]:
    """Adapters of one layer more, by the name of `depth`."""

    def edit(tensors: Tensors, _: dict[str, str]) -> None:
        own = {name.partition(":")[2]: tensor for name, tensor in tensors.items() if name[0] == max(tensors)[0]}
        tensors.update({f"{depth}:{part}": tensor for part, tensor in own.items()})

    return edit


def _tensor_cases() -> Iterator[Case]:
    for file, names in _TENSORS.items():
        for name, kinds in names.items():
            if not name.endswith(":vector"):  # a weight that was not trained
                yield Case(f"{file} {name} missing", file, _with_tensors(file, _without(name)))
            for kind, made in (item for edits in kinds for item in edits.items()):
                if (file, name, kind) not in _HARMLESS:
                    yield Case(f"{file} {name} {kind}", file, _with_tensors(file, _edit(name, made)))
    for file in (LENSES, KV_PROJECTIONS):
        for depth in ("0", "7", "600", "-1", "²", "1e9", "99999999999", "01", " 2", "x", ""):
            yield Case(f"{file} of layer {depth!r}", file, _with_tensors(file, _copied_to(depth)))
    for rows, width in ((10_048, 64), (2_048, 64), (65, 64), (64, 128), (128, 128), (64, 32), (0, 64), (64, 0)):
        yield Case(f"{SVD_HEAD} of rank {rows} and width {width}", SVD_HEAD, _directions(rows, width))
    for name, made in (_FLOATS | _ANY).items():
        if name != "one row less":  # a rank that serves nothing, and harms nothing
            yield Case(f"{SVD_HEAD} {name}", SVD_HEAD, _with_tensors(SVD_HEAD, _edit("directions", made)))
    yield Case(
        f"{SVD_HEAD} missing", SVD_HEAD, _with_tensors(SVD_HEAD, lambda t, _: _ignore(t.update(x=t.pop("directions"))))
    )
    for file, key, values in (
        (AGENT, "exits", (None, "", "2", "2,5", "2,4,6", "x", "2,4,", "9" * 5000)),
        (AGENT, "width", (None, "", "x", "0", "-64", "128", "9" * 5000)),
        (VALUE_HEADS, "width", (None, "x", "0", "-1", "128", "1e3", "9" * 5000)),
        (VALUE_HEADS, "depths", (None, "", "x", "1", "2,1", "1,1,2", "1,6", "0,2", "1,2000", "9" * 5000)),
        (VALUE_HEADS, "place_features", (None, "x", "-1", "7", "99999")),
        (NGRAMS, "vocabulary", (None, "", "x")),
        (DELTA, "bits", (None, "", "[]", "{}", "null", "x", "{" * _NESTED, '{"layers.1.mlp_in.weight": 2}', '{"layers.1.mlp_in.weight": 4}',
                         '{"layers.1.mlp_in.weight": true}', '{"layers.1.mlp_in.weight": 1e999}')),
        (DELTA, "columns", ("", "[]", "x", "[" * _NESTED, *(f'{{"layers.1.mlp_in.weight": {n}}}' for n in ("0", "-1", "1", "65", "4096", "1e999", '"64"')))),
    ):  # fmt: skip
        for value in values:
            yield Case(f"{file} {key} {str(value)[:24]!r}", file, _metadata(file, key, value))
    stray = {"no.such.weight:vector": np.ones(4, np.float16)}
    yield Case(f"{DELTA} of another weight", DELTA, _with_tensors(DELTA, lambda t, _: t.update(stray)))
    yield Case(
        f"{DELTA} of another kind", DELTA, _with_tensors(DELTA, lambda t, _: t.update({"x:y": np.ones(4, np.float16)}))
    )


def _header_cases() -> Iterator[Case]:
    """What a safetensors file begins with: the header's length, then the header."""

    def edited(file: str, edit: Callable[[bytes, bytes], bytes]) -> Change:
        def change(folder: Path) -> None:
            whole = (folder / file).read_bytes()
            end = 8 + int.from_bytes(whole[:8], "little")
            (folder / file).write_bytes(edit(whole[8:end], whole[end:]))

        return change

    def framed(header: bytes, data: bytes, length: int | None = None) -> bytes:
        return (len(header) if length is None else length).to_bytes(8, "little") + header + data

    damages: dict[str, Callable[[bytes, bytes], bytes]] = {
        "empty": lambda h, d: b"",
        "of eight bytes": lambda h, d: b"\0" * 8,
        "cut": lambda h, d: framed(h, d[:-1]),
        "cut in the header": lambda h, d: framed(h, d)[: len(h) // 2],
        "with more behind": lambda h, d: framed(h, d + b"\0"),
        "length 2^63": lambda h, d: framed(h, d, 2**63),
        "length 0": lambda h, d: framed(h, d, 0),
        "length one less": lambda h, d: framed(h, d, len(h) - 1),
        "nested": lambda h, d: framed(b'{"x":' + b"[" * _NESTED, d),
        "a list": lambda h, d: framed(b"[]", d),
        "unknown type": lambda h, d: framed(h.replace(b'"dtype":"', b'"dtype":"X'), d),
        "negative shape": lambda h, d: framed(h.replace(b'"shape":[', b'"shape":[-'), d),
        "huge shape": lambda h, d: framed(h.replace(b'"shape":[', b'"shape":[99999999999,'), d),
        "shape beyond 64 bits": lambda h, d: framed(h.replace(b'"shape":[', b'"shape":[18446744073709551615,'), d),
        "offsets that overlap": lambda h, d: framed(h.replace(b'"data_offsets":[', b'"data_offsets":[0'), d + b"\0"),
        "not UTF-8": lambda h, d: framed(h[:-1] + b"\xff}", d),
    }
    for file in (*_TENSORS, SVD_HEAD):
        for name, edit in damages.items():
            yield Case(f"{file} {name}", file, edited(file, edit))


def _folder_cases() -> Iterator[Case]:
    """Files that are missing, or no files."""

    def instead(file: str, make: Callable[[Path], None]) -> Change:
        def change(folder: Path) -> None:
            (folder / file).unlink()
            make(folder / file)

        return change

    yield Case("no manifest", MANIFEST, lambda folder: (folder / MANIFEST).unlink())
    for file in (MANIFEST, CALIBRATION, NGRAMS, VOCABULARY, GATE):
        others = {"a folder": Path.mkdir, "a link to nothing": lambda path: path.symlink_to("nowhere")}
        if hasattr(os, "mkfifo"):
            others |= {"a pipe": os.mkfifo, "a device": lambda path: path.symlink_to("/dev/zero")}
        for name, make in others.items():
            yield Case(f"{file} is {name}", file, instead(file, make), agrees=False)


CASES: tuple[Case, ...] = (*_json_cases(), *_tensor_cases(), *_header_cases(), *_folder_cases())


def random_damage(folder: Path, seed: int) -> str:
    """Change a few bytes of one file, or cut it; its hash is made to agree. Returns what was done."""
    draw = random.Random(seed)
    path = draw.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    content = bytearray(path.read_bytes())
    header = min(len(content), draw.choice((64, 2048, len(content))))
    for _ in range(draw.choice((1, 1, 2, 8))):
        at, kind = draw.randrange(header), draw.randrange(4)
        if kind == 0:
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[at] = draw.choice(b'0123456789-"[]{},:\x00\xff')
        elif kind == 2:
            content[at:at] = draw.choice((b"9" * 20, b"-", b"null", b"1e999", b"[" * 50))
        else:
            del content[at : at + draw.choice((1, 8, 1000))]
        if not content:
            break
        header = min(header, len(content))
    path.write_bytes(content)
    if path.name != MANIFEST:
        refresh_manifest(folder)
    return f"{path.name}, seed {seed}"
