"""A cell is completed as a part of its notebook."""

from __future__ import annotations

from green_code.link.messages import CompletionParams
from green_code.lsp.documents import Document, Span
from green_code.lsp.open_document import OpenDocument
from green_code.lsp.open_documents import OpenDocuments
from green_code.settings import default_settings

CELLS = {
    "title": ("markdown", "# Title"),
    "imports": ("python", "import math"),
    "blank": ("python", ""),
    "area": ("python", "def area(r):\n    return math.pi * r ** 2\n"),
    "shell": ("shellscript", "ls"),
    "use": ("python", "area("),
    "last": ("python", "print(1)"),
}


def opened(cells: dict[str, tuple[str, str]] = CELLS) -> OpenDocuments:
    documents = OpenDocuments()
    for uri, (language, text) in cells.items():
        documents.open(Document(uri, language, text, "utf-16"))
    documents.open_notebook("notebook", list(cells))
    return documents


def entry_of(documents: OpenDocuments, uri: str) -> OpenDocument:
    entry = documents.get(uri)
    assert entry is not None
    return entry


def params_of(documents: OpenDocuments, uri: str, line: int, index: int) -> CompletionParams:
    entry = entry_of(documents, uri)
    return entry.params(entry.document.lines, line, index, default_settings(), automatic=True)


def test_the_other_code_cells_are_context() -> None:
    params = params_of(opened(), "use", 0, 5)
    assert params["prefix"] == "import math\n\ndef area(r):\n    return math.pi * r ** 2\n\n\narea("
    assert params["suffix"] == "\n\nprint(1)\n"
    assert params_of(opened(), "blank", 0, 0)["prefix"] == "import math\n\n"
    assert params_of(opened(), "shell", 0, 2)["prefix"] == "ls"


def test_cells_share_a_session_whose_prompt_grows() -> None:
    documents = opened()
    one, other = params_of(documents, "area", 0, 3), params_of(documents, "use", 0, 5)
    assert one["session"] == other["session"]
    assert other["prefix"].startswith(one["prefix"])
    assert params_of(opened({"alone": ("python", "x")}), "alone", 0, 1)["prefix"] == "x"


def test_cells_that_are_added_moved_and_removed() -> None:
    documents = opened()
    documents.open(Document("new", "python", "y = 2", "utf-16"))
    documents.change_cells("notebook", 3, 0, ["new"])
    assert params_of(documents, "area", 0, 3)["prefix"] == "import math\n\ny = 2\n\ndef"
    documents.change_cells("notebook", 1, 3, ["new", "imports"])
    assert params_of(documents, "area", 0, 3)["prefix"] == "y = 2\n\nimport math\n\ndef"
    documents.change_cells("notebook", 1, 1, [])
    documents.close("new")
    assert params_of(documents, "area", 0, 3)["prefix"] == "import math\n\ndef"


def test_a_cell_that_left_its_notebook_is_a_document_like_others() -> None:
    documents = opened()
    documents.change_cells("notebook", 5, 1, [])
    entry = entry_of(documents, "use")
    entry.follow(entry.document.apply(Span(0, 5, 0, 5), "2"))
    assert params_of(documents, "use", 0, 6)["prefix"] == "area(2"


def test_in_a_large_notebook_typing_does_not_move_the_windows_start() -> None:
    cells = {f"cell{i}": ("python", f"value_{i} = {i}\n" * 10) for i in range(200)}
    documents = opened({**cells, "here": ("python", "x = ")})
    entry, starts = entry_of(documents, "here"), set()
    entry_of(documents, "cell3").follow(entry_of(documents, "cell3").document.apply(Span(0, 0, 0, 0), "a\nb\n"))
    for n, letter in enumerate("value_1"):
        starts.add(params_of(documents, "here", 0, 4 + n)["prefix"][:40])
        entry.follow(entry.document.apply(Span(0, 4 + n, 0, 4 + n), letter))
        earlier = entry_of(documents, "cell5")
        earlier.follow(earlier.document.apply(Span(0, 0, 0, 0), "z = 1\n"))
    assert len(starts) == 1
