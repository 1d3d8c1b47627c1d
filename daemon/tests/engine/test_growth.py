"""The cost of a request does not grow with the file, and an edit costs no more than a cold prompt; counted in work, not time."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sessions import LAYERS, PARAMS, changed, complete, tiny_runtime

from green_code.engine.loading import Runtime
from green_code.engine.session import Session
from green_code.link.messages import CompletionResult
from green_code.lsp.documents import Edit
from green_code.lsp.prompt import PromptWindow

WINDOW_TOKENS = 128


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with tiny_runtime(tmp_path_factory.mktemp("tiny")) as runtime:
        yield runtime


def source(lines: int, seed: int = 0) -> list[str]:
    words = ["def", "return", "self", "value", "total", "first", "second", "while", "for", "print", "index", "name"]  # fmt: skip
    generator = random.Random(seed)
    return [f"    {' '.join(generator.choices(words, k=5))} = {i}\n" for i in range(lines)]


class Editor:
    """A document: its lines, the front's prompt window, and its session in the engine."""

    def __init__(self, runtime: Runtime, lines: list[str]) -> None:
        self.lines, self.window = lines, PromptWindow()
        self.session: Session = runtime.new_session()

    def complete(self, line: int, decoding: str = "exact") -> CompletionResult:
        """A completion at the end of a line."""
        text = self.lines[line].rstrip("\n")
        prompt = self.window.prompt(self.lines, line, len(text), WINDOW_TOKENS)
        params = changed(
            PARAMS, prefix=prompt.prefix, suffix=prompt.suffix, decoding=decoding, policy="full", threshold=1.0, max_tokens=8,
            single_line=True, max_lines=1, max_prompt_tokens=WINDOW_TOKENS,
        )  # fmt: skip
        return complete(self.session, params)

    def type(self, line: int, characters: str) -> None:
        self.lines[line] = self.lines[line].rstrip("\n") + characters + "\n"

    def replace(self, first: int, last: int, lines: list[str]) -> None:
        """Replace the lines first … last by `lines`."""
        self.lines[first : last + 1] = lines
        self.window.follow(Edit(first, last, len(lines)))


def new_positions(result: CompletionResult) -> int:
    return result["prompt_tokens"] - result["prompt_reused"]


@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_keystroke_costs_the_same_in_a_long_file(runtime: Runtime, decoding: str) -> None:
    work = []
    for lines in (50, 5000):
        editor = Editor(runtime, source(5000)[-lines:])
        cold = editor.complete(lines - 1, decoding)
        assert cold["prompt_layers_run"] <= LAYERS * (WINDOW_TOKENS + 1)
        editor.type(lines - 1, " + f")
        typed = editor.complete(lines - 1, decoding)
        work.append((new_positions(typed), typed["prompt_layers_run"], typed["energy_full_joules"] > 0))
        assert new_positions(typed) <= 5
    assert work[0] == work[1]


def test_new_positions_are_those_of_the_new_tokens(runtime: Runtime) -> None:
    editor = Editor(runtime, source(300))
    editor.complete(200, "full")
    for words in (1, 4, 16):
        before = runtime.vocabulary.encode(editor.lines[200])
        editor.type(200, " value" * words)
        added = len(runtime.vocabulary.encode(editor.lines[200])) - len(before)
        assert new_positions(editor.complete(200, "full")) <= added + 2  # token healing removes one at both ends


@pytest.mark.parametrize("decoding", ["full", "exact"])
def test_a_paste_a_jump_and_an_undo_cost_a_cold_prompt_at_most(runtime: Runtime, decoding: str) -> None:
    editor, cold = Editor(runtime, source(3000)), LAYERS * (WINDOW_TOKENS + 1)
    editor.complete(1500, decoding)
    editor.replace(1501, 1501, source(1000, seed=1))
    pasted = editor.complete(2500, decoding)
    after_jump = editor.complete(100, decoding)
    editor.replace(1501, 2500, ["undone = True\n"])
    undone = editor.complete(1500, decoding)
    for result in (pasted, after_jump, undone):
        assert new_positions(result) <= WINDOW_TOKENS + 1
        assert result["prompt_layers_run"] <= cold
    fresh = Editor(runtime, editor.lines).complete(1500, decoding)
    assert undone["text"] == fresh["text"]


def test_memory_of_a_session_is_bounded(runtime: Runtime) -> None:
    """However much is typed: the cache of the window's positions, and the indexes of prompt lookup."""
    editor = Editor(runtime, source(2000))
    sizes = []
    for step in range(120):
        editor.type(200 + 13 * step, " + total")
        editor.complete(200 + 13 * step)
        sizes.append(editor.session.cache_bytes)
    position = runtime.decoder.new_buffers(256).nbytes / 256
    dropped = 3 * 500  # tokens that the indexes keep of the beginnings of their texts
    assert max(sizes) <= 256 * position + 470 * (WINDOW_TOKENS + 8 + 3000 + dropped)
    assert max(sizes[60:]) <= 1.1 * max(sizes[:60])
