"""Globs: what VS Code's syntax means, whatever the spelling, and that none takes long."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green_code import globs
from green_code.globs import WORK_AT_MOST, Positions, compile_glob, matching_glob
from tests.examples import examples


def does_match(glob: str, path: str) -> bool:
    compiled = compile_glob(glob)
    return compiled is not None and compiled.matches(Positions(path))


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("**/*.pem", "a/b/c.pem", True),
        ("**/*.pem", "c.pem", True),
        ("*.pem", "a/c.pem", False),
        ("a/**", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c", True),
        ("a/*/c", "a/b/b/c", False),
        ("*.{py,java}", "x.java", True),
        ("x.[jt]s", "x.ts", True),
        ("x.[!jt]s", "x.ts", False),
        ("file?.py", "file1.py", True),
        ("file?.py", "file/.py", False),
        ("a+b(1).py", "a+b(1).py", True),
        ("**\\build\\**", "x/build/y.py", True),
        ("{a,b", "x", False),
        ("[z-a]", "x", False),
        ("**/private", "a/private/b/c.py", True),
        ("**/private", "a/private.py", False),
        ("a/secrets/", "a/secrets/key.py", True),
        ("a/*.d", "a/b.d/c.py", True),
        ("a/*.d", "a/b/c.py", False),
        ("**", "a/b", True),
        ("src/**.py", "src/a/b.py", True),
        ("a**/b", "a/b", True),
        ("{**/x,y}/z", "a/x/z", True),
        ("{a,{b,c}/d}.py", "c/d.py", True),
        ("{a,{b,c}/d}.py", "b.py", False),
        ("{}x", "x", True),
        ("a}", "a}", True),
        ("[!/]b", "/b", False),
        ("[a-c-]", "-", True),
        ("[]]", "]", True),
        ("[]", "[]", True),
        ("[!]", "x", False),
        ("GRÖSSE.py", "größe.py", False),
        ("ÄRGER.py", "ärger.py", True),
        ("{" * 21 + "a" + "}" * 21, "a", False),
        ("a" * 512, "a" * 512, True),
        ("a" * 513, "a" * 513, False),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert does_match(glob, path) is matches


def test_a_pattern_without_a_slash_also_means_the_name() -> None:
    assert matching_glob(["*.sql"], "/a/b/c.SQL", []) == "*.sql"
    assert matching_glob(["b/*.sql"], "/a/b/c.sql", ["/a"]) == "b/*.sql"
    assert matching_glob(["b/*.sql"], "/a/b/c.sql", ["/other"]) is None
    assert matching_glob(["", "/", "c", "b*q?"], "/a/b/c.sql", ["/a"]) is None
    assert matching_glob(["b**.SQL"], "/a/b/c.sql", []) == "b**.SQL"
    for path in ("", "/", "."):
        assert matching_glob([".*", "a", "?"], path, ["", "/", "."]) is None


@pytest.mark.parametrize("glob", ["**/private", "private/", "private", "~/work/private/**", "~/work/private", "~/"])
def test_a_folder_that_is_named_is_private_with_all_that_is_below_it(
    glob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for folders in ([], ["/home/me/work"]):
        assert matching_glob([glob], "/home/me/work/private/a/key.py", folders) == glob
        assert matching_glob([glob], "/srv/privately/key.py", folders) is None


TOKEN = re.compile(r"(?<![^/{,])\*\*/|\*\*|\[.[^\]]*\]|.", re.DOTALL)
WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def as_regular_expression(glob: str) -> re.Pattern[str] | None:
    """The same meaning for Python's `re`, which tries and goes back; None: malformed."""
    out, depth = "", 0
    for token in TOKEN.findall(glob.rstrip("/").lstrip("/")):
        if token in WILDCARDS:
            out += WILDCARDS[token]
        elif len(token) > 1:
            negated = token[1] in "!^"
            body = re.escape(token[1 + negated : -1]).replace(r"\-", "-")
            out += f"(?!/)[{'^' if negated else ''}{body}]"
        elif token == "{":
            out, depth = out + "(?:", depth + 1
        elif token == "}" and depth:
            out, depth = out + ")", depth - 1
        else:
            out += "|" if token == "," and depth else re.escape(token)
    try:
        return re.compile(out + "(?:/.*)?", re.IGNORECASE | re.DOTALL)
    except re.error:
        return None


pieces = st.sampled_from(
    ["a", "b", "B", ".", "/", "*", "**", "**/", "?", "{", ",", "}", "[ab]", "[!a]", "[a-c]", "[", "]", "-", "~x"]
)
paths = st.lists(st.sampled_from(["a", "b", "c", "A", ".a", "ab", "b.c"]), min_size=1, max_size=4).map("/".join)


@examples(400, derandomize=True)
@given(st.lists(pieces, max_size=7).map("".join), paths)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_glob_means_what_its_regular_expression_means(glob: str, path: str) -> None:
    expression = as_regular_expression(glob)
    assert (compile_glob(glob) is None) == (expression is None)
    assert does_match(glob, path) == bool(expression and expression.fullmatch(path))


@pytest.mark.timeout(20)
def test_no_glob_explodes() -> None:
    """Each takes a regular expression that tries and goes back for ever."""
    path = "/".join(["a" * 20] * 100)
    globs = [
        "**/" * 10 + "zzz",
        "**/" * 170 + "z",
        "*a" * 250 + "b",
        "**a" * 170 + "b",
        "{a,a}" * 100 + "b",
        "{*,*}" * 100 + "b",
        "{**/,*/}" * 60 + "b",
        "[a-b]*" * 80 + "c",
        "?*" * 250 + "b",
    ]
    assert all(compile_glob(glob) is not None for glob in globs)
    assert matching_glob(globs * 28, f"/{path}", [f"/{'a' * 20}"]) is None


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """The work for each path that is read."""

    def recorded(*args: Any) -> list[int]:
        made: list[Positions] = []

        class Recorded(Positions):
            def __init__(self, path: str) -> None:
                super().__init__(path)
                made.append(self)

        monkeypatch.setattr(globs, "Positions", Recorded)
        matching_glob(*args)
        return [one.work for one in made]

    return recorded


def test_a_glob_is_read_once_whatever_parts_and_folders_a_path_has(works: Callable[..., list[int]]) -> None:
    folders = ["/" + "/".join(["a"] * depth) for depth in range(100)]
    for glob in ("{*,*}" * 100, "{*,*}" * 100 + "/b"):
        [at_once] = works([glob], "/a/a", [])
        assert works([glob], "/" + "a/" * 99 + "a", folders) == [at_once]


@pytest.mark.timeout(20)
def test_the_most_that_settings_and_a_path_can_ask_for_ends_early_and_excludes(works: Callable[..., list[int]]) -> None:
    """A class of characters is compared with each that the path has."""
    characters = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    classes = ["[!" + "".join(map(chr, range(first, first + 509))) + "]" for first in range(0x6000, 0x6100)]
    wildcards = [f"{'?*' * 250}{number}" for number in range(256)]
    for many, path in ((classes, f"/{characters}.py"), (wildcards, "/" + "x" * 32_000)):
        assert all(len(glob) <= 512 and compile_glob(glob) for glob in many)
        assert works(many, path, [])[0] <= WORK_AT_MOST
        assert matching_glob(many, path, []) is not None
    assert matching_glob(wildcards, "/" + "x" * 4000, []) is None, "a path that systems have is read by all globs"


def test_what_is_remembered_is_bounded_by_its_bytes() -> None:
    cached = globs._first_match
    for number in range(100):
        too_long = f"{number}" * 10_000
        assert matching_glob([too_long, "*.pem"], f"/a/{number}.pem", ["/" + "b" * 30_000]) == "*.pem"
        assert compile_glob(too_long) is None
    held = list(cached._held)
    assert cached.held_bytes <= 4 << 20 and len(held) < 50
    assert {asked for asked, *_ in held[-40:]} == {("*.pem",)} and "/a/99.pem" in held[-1]


def test_a_path_that_no_system_has_is_no_work() -> None:
    assert matching_glob(["**/*.pem"], "/a" * 5_000_000 + "/b.pem", []) == "**/*.pem"
