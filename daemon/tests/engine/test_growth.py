"""What a request costs does not grow with the file, and an edit costs no more than a cold prompt; counted in work, not time."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from green_code.engine.loading import Runtime, load_runtime
from green_code.engine.session import Session
from green_code.link.messages import CompletionParams, CompletionResult
from green_code.lsp.documents import Edit
from green_code.lsp.prompt import PromptWindow

TOKENS = 128  # of the window
LAYERS = 6


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREEN_CODE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GREEN_CODE_BUNDLES", str(tmp_path_factory.mktemp("bundles")))
        yield load_runtime("tiny-random")


def source(lines: int, seed: int = 0) -> list[str]:
    words = [
        "def",
        "return",
        "self",
        "value",
        "total",
        "first",
        "second",
        "while",
        "for",
        "print",
        "index",
        "name",
    ]
    generator = random.Random(seed)
    return [f"    {' '.join(generator.choices(words, k=5))} = {i}\n" for i in range(lines)]


class Editor:
    """A document as the front sees it: its window, and the session behind it."""

    def __init__(self, runtime: Runtime, lines: list[str]) -> None:
        self.lines, self.window = lines, PromptWindow()
        self.model = runtime.model
        self.session: Session = runtime.new_session()

    def ask(self, line: int, decoding: str = "exact") -> CompletionResult:
        """At the end of a line."""
        text = self.lines[line].rstrip("\n")
        prompt = self.window.prompt(self.lines, line, len(text), TOKENS)
        params: CompletionParams = {
            "session": "", "prefix": prompt.prefix, "suffix": prompt.suffix, "language": "python", "model": self.model,
            "decoding": decoding, "policy": "full", "threshold": 1.0, "max_tokens": 8, "single_line": True, "max_lines": 1,
            "max_prompt_tokens": TOKENS,
        }  # type: ignore[typeddict-item]  # fmt: skip
        return self.session.complete(params, lambda: None)

    def type(self, line: int, characters: str) -> None:
        self.lines[line] = self.lines[line].rstrip("\n") + characters + "\n"

    def replace(self, first: int, last: int, lines: list[str]) -> None:
        """Put `lines` in the place of the lines first … last."""
        self.lines[first : last + 1] = lines
        self.window.follow(Edit(first, last, len(lines)))


def new_positions(result: CompletionResult) -> int:
    return result["prompt_tokens"] - result["prompt_reused"]


@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_keystroke_costs_the_same_in_a_long_file(runtime: Runtime, decoding: str) -> None:
    work = []
    for lines in (50, 5000):
        editor = Editor(runtime, source(5000)[-lines:])
        cold = editor.ask(lines - 1, decoding)
        assert cold["prompt_layers_run"] <= LAYERS * (TOKENS + 1)
        editor.type(lines - 1, " + f")
        typed = editor.ask(lines - 1, decoding)
        work.append((new_positions(typed), typed["prompt_layers_run"], typed["energy_full_joules"] > 0))
        assert new_positions(typed) <= 5
    assert work[0] == work[1]


def test_work_is_linear_in_the_new_tokens(runtime: Runtime) -> None:
    editor = Editor(runtime, source(300))
    editor.ask(200, "full")
    for words in (1, 4, 16):
        before = runtime.vocabulary.encode(editor.lines[200])
        editor.type(200, " value" * words)
        added = len(runtime.vocabulary.encode(editor.lines[200])) - len(before)
        assert new_positions(editor.ask(200, "full")) <= added + 2  # healing takes back a token at both ends


@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_paste_a_jump_and_an_undo_cost_a_cold_prompt_at_most(runtime: Runtime, decoding: str) -> None:
    editor, cold = Editor(runtime, source(3000)), LAYERS * (TOKENS + 1)
    editor.ask(1500, decoding)
    editor.replace(1501, 1501, source(1000, seed=1))
    pasted = editor.ask(2500, decoding)
    there = editor.ask(100, decoding)
    editor.replace(1501, 2500, ["undone = True\n"])
    undone = editor.ask(1500, decoding)
    for result in (pasted, there, undone):
        assert new_positions(result) <= TOKENS + 1
        assert result["prompt_layers_run"] <= cold
    fresh = Editor(runtime, editor.lines).ask(1500, decoding)
    assert undone["text"] == fresh["text"]


def test_memory_of_a_session_is_bounded(runtime: Runtime) -> None:
    """However much is typed and edited: the window's positions, and the drafts' text."""
    editor = Editor(runtime, source(2000))
    sizes = []
    for step in range(120):
        editor.type(200 + 13 * step, " + total")
        editor.ask(200 + 13 * step)
        sizes.append(editor.session.cache_bytes)
    decoder, config = runtime.decoder, runtime.decoder.config
    cached = sum(decoder.cache_widths) * decoder.cache_dtype.itemsize
    position = config.layers * config.kv_heads * cached + config.width * 4
    lost = 3 * 500  # at their beginnings, of the texts that drafts are looked up in
    assert max(sizes) <= 256 * position + 470 * (TOKENS + 8 + 3000 + lost)
    assert max(sizes[60:]) <= 1.1 * max(sizes[:60])
