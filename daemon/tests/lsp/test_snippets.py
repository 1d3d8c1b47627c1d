"""Lines of other open files: the most similar ones, of files that may be read, and the same while the cursor stays near."""

from __future__ import annotations

from typing import Any

import pytest

from green_code.lsp import snippets
from green_code.lsp.documents import Span
from tests.lsp.front_window import Window, result

MAIN, OTHER = "file:///project/main.py", "file:///project/shop/prices.py"
PRICES = "".join(f"unrelated_{i} = nothing_{i}\n" for i in range(60)) + (
    "def total_price(basket, discount):\n    price = sum(item.price for item in basket)\n    return price * discount\n"
)
TEXT = "from shop.prices import total_price\n\nbasket = load_basket()\nprice = total_price(basket, discount)\n"


def window(**settings: Any) -> Window:
    found = Window()
    found.front.workspace_folders = ["/project"]
    found.engine.reads_snippets = True
    found.front.configure({"suggestions": "eager", **settings})
    found.front.open(OTHER, "python", PRICES)
    found.front.open(MAIN, "python", TEXT)
    return found


def asked(window: Window, line: int = 3, units: int = 8) -> Any:
    window.now += 10
    for entry in window.front.documents:
        entry.recent.clear()
    window.engine.answers = [result("x)")]
    window.complete(line, units, automatic=False, uri=MAIN)
    return window.engine.requests[-1]


def test_the_lines_that_resemble_those_at_the_cursor_are_sent() -> None:
    params = asked(window())
    assert params["path"] == "main.py"
    assert [each["path"] for each in params["snippets"]] == ["shop/prices.py"]
    assert "def total_price" in params["snippets"][0]["text"]
    assert params["snippets"][0]["text"].count("\n") < 12


def test_a_long_line_is_cut() -> None:
    found = window()
    found.front.change(OTHER, Span(61, 0, 61, 0), "x" * 1_000_000)
    (sent,) = asked(found)["snippets"]
    assert "def total_price" in sent["text"] and max(map(len, sent["text"].split("\n"))) == snippets.LINE_CHARACTERS


def test_an_engine_that_reads_none_gets_none() -> None:
    found = window()
    found.engine.reads_snippets = False
    assert (asked(found)["snippets"], asked(found)["path"]) == ([], "")


@pytest.mark.parametrize(
    ("uri", "language", "text", "settings"),
    [
        ("file:///project/.env.py", "python", PRICES, {"excludedFiles": ["**/.env*"]}),
        ("file:///project/shop/Prices.java", "java", PRICES, {}),
        ("file:///project/shop/data.py", "python", PRICES + "\0", {}),
        ("file:///project/shop/other.py", "python", "alpha = 1\nbeta = 2\n", {}),
    ],
    ids=["excluded", "another language", "binary", "nothing alike"],
)
def test_other_files_stay_where_they_are(uri: str, language: str, text: str, settings: dict[str, Any]) -> None:
    found = window(**settings)
    found.front.close_document(OTHER)
    found.front.open(uri, language, text)
    assert asked(found)["snippets"] == []


def test_what_is_excluded_later_is_not_sent_any_more() -> None:
    found = window()
    assert asked(found)["snippets"]
    found.front.configure({"excludedFiles": ["shop/**"]})
    assert asked(found)["snippets"] == []


def test_they_stay_while_somebody_types() -> None:
    """A change at the front of the prompt would cost the KV cache."""
    found = window()
    first = asked(found)["snippets"]
    found.front.change(OTHER, Span(0, 0, 0, 0), TEXT)
    found.front.change(MAIN, Span(3, 8, 3, 8), "un")
    assert asked(found, units=10)["snippets"] == first


def test_a_request_reads_a_bounded_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one goes on; the files that were edited last count."""
    read, words = list[int](), snippets._words

    def counted(lines: list[str]) -> frozenset[str]:
        read.append(len(lines))
        return words(lines)

    monkeypatch.setattr(snippets, "_words", counted)
    found = window()
    for i in range(8):
        found.front.open(f"file:///project/many/{i}.py", "python", PRICES * 100)
        found.now += 1
        found.front.change(f"file:///project/many/{i}.py", Span(6250, 0, 6250, 0), "\n")
    counts = list[int]()
    while not (sent := asked(found)["snippets"]):
        counts.append(sum(read))
        read.clear()
        assert len(counts) < 10
    assert max(counts) <= snippets.LINES_A_REQUEST + 6
    assert len(sent) == snippets.SNIPPETS_AT_MOST and all(each["path"] > "many/3" for each in sent)
    read.clear()
    assert asked(found)["snippets"] == sent and not read
