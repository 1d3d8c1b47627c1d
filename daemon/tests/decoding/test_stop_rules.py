"""Stop rules. A case: text before the cursor, text after it, generated text, kept text, reason."""

from __future__ import annotations

import pytest

from green_code.decoding.cutting import finished
from green_code.decoding.stop_rules import Situation, check

CASES = [
    # one line
    ("x = ", "", "1\ny", "1", "end_of_line"),
    # on a blank line the first break does not count
    ("    ", "", "\n    return 1\n", "\n    return 1", "end_of_line"),
    ("def f(", "", "a, b):\n", "a, b):", "end_of_line"),
    # the bracket that the editor has put after the cursor
    ("foo(", ")", "a, b)", "a, b", "closing_bracket"),
    ("foo(", ")", "bar(a)", None, None),
    # not a bracket of the line that the completion closes
    ("foo(bar[", ")", "x], baz(1))", "x], baz(1)", "closing_bracket"),
    ("foo(", "", "a)", None, None),
    # the text after the cursor closes the outer ones of the open brackets
    ("foo(bar(", ")", "x))", "x)", "closing_bracket"),
    ("foo(bar(", "))", "int(x)))", "int(x)", "closing_bracket"),
    ("foo(bar(", ") + baz(1)", "x))", "x)", "closing_bracket"),
    # a bracket in a string does not count
    ("text.split(", ")", '")"', None, None),
    ("text.split(", ")", '")")', '")"', "closing_bracket"),
    ("text.split(", ")", '"(")', '"("', "closing_bracket"),
    ('print("', '")', "1) first", None, None),
    ("f('it\\'s (', ", ")", "1)", "1", "closing_bracket"),
    # the bracket's partner is on a later line
    ("items.forEach((", ") => {\n  x();\n});", "item) => item.save());", "item", "closing_bracket"),
    ("join(dirname(", "),\n    'x')", "__file__))", "__file__", "closing_bracket"),
    # a quote in a comment does not count
    ("# It's faster (see ", ")", "below).", "below", "closing_bracket"),
    ("x = 1  # a user's (see ", ")", "users' guide).", "users' guide", "closing_bracket"),
    (" * It's faster (see ", ")", "John's).", "John's", "closing_bracket"),
    ("f(r'", "')", "x (')", "x (", "suffix_reached"),
    # the text after the cursor on this line
    ("x = ", " + 1", "y + 1", "y ", "suffix_reached"),
    ('print("', '")', 'hello")', "hello", "suffix_reached"),
    # the completion's own end is like the text after the cursor
    ("foo(bar(", "))", "int(float(x))", None, None),
    ("submit(", ");", "() -> { doWork();", None, None),
    ('print("', '")', 'a" + f("b")', None, None),
]
BLOCK_CASES = [
    ("    if x:", "", "\n        return 1\nprint(2)\n", "\n        return 1", "end_of_block"),
    ("if x:", "\n    return 2\n", "\n    y = 1\n    return 2\n", "\n    y = 1", "suffix_reached"),
    # the same line in a deeper block is another one
    ("    ", "\n    return None\n", "if x is None:\n        return None\n", None, None),
    (
        'def f():\n    """',
        '"""\n    pass\n',
        'One.\n\n    More (than two).\n    """',
        "One.\n\n    More (than two).\n    ",
        "suffix_reached",
    ),
    ("", "", "a = 1\na = 1\n", "a = 1", "repetition"),
    ("# ", "", "-" * 32, None, None),  # a separator
    ("# ", "", "-" * 80, "-" * 80, "repetition"),
    ("x = ", "", "ab" * 6, "ab", "repetition"),
    ("", "", "a\nb\na\nb\nc", "a\nb", "repetition"),
    ("x = ", "", "[0, 0, 0, 0, 0, 0, 0", "[0, 0", "repetition"),
    ("return ", "", "width + height + height + height", "width + height", "repetition"),
    ("    a", ")\n", ", b)", ", b", "closing_bracket"),  # opened on an earlier line
    ("return ", "", "first.total + first.total * 2", None, None),
    ("if x:", "", "\n    a = 1\n    b = 2\n", None, None),
]

LANGUAGE_CASES = [
    # Python: the function's body, whatever the cursor's column
    ("python", 'def f(a):\n    """One."""\n', "", "    return a\n\n\ndef g(a):", "    return a"),
    ("python", 'def f(a):\n    """One.\n\n    Two.\n    """\n', "", "    b = a\n    return b\n\nx = f(1)", "    b = a\n    return b"),
    ("python", "def f(a):\n    ", "", "return a\n\n    @cache", "return a"),
    ("python", "def f(a):", "", "\n    return a\n\nprint(f(1))", "\n    return a"),
    ("python", "def f(", "", "a,\n    b,\n):\n    return a\nprint", "a,\n    b,\n):\n    return a"),
    ("python", 'def f(a):\n    """One."""\n', "", "import os\n", ""),
    ("python", "class A:\n    def f(self):\n        return 1\n\n    ", "", "def g(self):\n        return 2\n\n    def h(", "def g(self):\n        return 2"),
    ("python", "class A:\n    ", "", "@property\n    def g(self):\n        return 2\n\n    @property", "@property\n    def g(self):\n        return 2"),
    ("python", "def f(a):\n    for x in a:\n        ", "", "if x:\n            g(x)\n        h(x)\n    return a", "if x:\n            g(x)\n        h(x)"),
    # a bracket that nothing opened
    ("python", "def f(a):\n    ", "", "return g(a))", "return g(a)"),
    ("python", "# ", "", "1) one", None),
    ("shellscript", "case x in\n  ", "", "a) b", None),
    # a number without end
    ("python", "def f(a):\n    return ", "", "a < 1" + "0" * 24, "a"),
    # what leaves the block is its end
    ("python", "def f(a):\n    ", "", "return g(\n  a)\n    ", "return g(\n  a)"),
    ("python", "def f(a):\n    return", "", " a\n", " a"),
    ("python", "def f(a):\n    if a:", "", "\n        return 1\n    return 2\n", "\n        return 1\n    return 2"),
    ("java", "class A {\n    int f() {\n        ", "\n    }\n}\n", "return 1;\n", "return 1;"),
    # indentation in brackets and strings ends nothing
    ("python", "def f():\n    ", "", "return {\n  1: (2,\n3),\n}\nx", "return {\n  1: (2,\n3),\n}"),
    ("python", "def f():\n    ", "", 'x = """\none\n"""\n    y = x\nz', 'x = """\none\n"""\n    y = x'),
    # at the margin: one statement
    ("python", "x = 1\n", "", "y = 2\nz = 3", "y = 2"),
    ("python", "x = 1\n", "", "if x:\n    y = 2\nelse:\n    y = 3\nz = 3", "if x:\n    y = 2\nelse:\n    y = 3"),
    ("python", "x = 1\n", "", "@cache\ndef f():\n    return 1\n\ndef g", "@cache\ndef f():\n    return 1"),
    ("python", "x = 1\n", "", "# One.\ny = 2\nz", "# One.\ny = 2"),
    ("python", "items = [\n    1,\n    ", "", "2,\n]\nx = 1", "2,\n]"),
    ("python", "items = [\n    1,\n    ", "\n]\n", "2,\n]", "2,"),
    ("python", "def f(x):\n    return x\n", "", "from __future__ import annotations", ""),
    ("python", "import os\n", "", "import sys\n\nimport x", "import sys"),
    ("python", '"""One.\n\nsome words\n"""\nimport os\n', "", "import sys\nx", "import sys"),
    # two blank lines; leading ones pass
    ("python", "def f(x):\n    return x", "", "\n\n\n", ""),
    ("python", "import os\n", "", "\n\ndef f():\n    return 1\n\n\n", "\n\ndef f():\n    return 1"),
    # lines above the cursor again
    ("python", "def f(x):\n    a(x)\n    b(x)\n    ", "", "a(x)\n    b(x)\n", ""),
    ("python", "def f(x):\n    a(x)\n    b(x)\n    ", "", "c(x)\n    a(x)\n", None),
    ("python", "def f(x):\n    return x\n\n\n", "", "def f(x):\n", ""),
    ("go", "func f() int {\n\treturn ", "", "v[0][0] + v[1][0] + v[2][0] + v[3][0] + v[4][0] + v[5][0] + ", "v[0][0]"),
    # braces: the block ends with its own
    ("java", "class A {\n    void f() {\n        ", "", "g();\n    }\n", "g();\n    }"),
    ("java", "class A {\n    void f() {\n        ", "\n    }\n}\n", "g();\n    }", "g();"),
    ("java", "class A {\n    void f() {\n        ", "", "if (x) {\n            g();\n        }\n        h();\n    }", "if (x) {\n            g();\n        }\n        h();\n    }"),
    ("java", "class A {\n    public int f(", "", "int x) {\n        return x;\n    }", "int x) {\n        return x;\n    }"),
    ("java", "class A {\n    ", "", "int f(int x) {\n        return x;\n    }", "int f(int x) {\n        return x;\n    }"),
    ("java", "class A {\n    ", "", "int x;\n\n    public int f", "int x;"),
    ("java", "class A {\n}\n", "", "import java.util.List;", ""),
    ("typescript", "export function f(a: number) {\n  ", "", "return a;\n}", "return a;\n}"),
    ("typescript", "function f() {\n  g({ a: 1", "\n}\n", " });\n", " });"),
    ("typescript", "function f() {\n  g({", "\n  });\n}\n", "\n    a: 1,\n  });\n", "\n    a: 1,"),
    ("typescript", "export function f(a: number) {\n  ", "", "  return a;\n  }", "  return a;\n  }"),
    ("typescript", "items.forEach((item) => {\n  ", "", "f(item);\n});\n", "f(item);\n});"),
    ("typescript", "const a = b.split(/[({]/);\nfunction f() {\n  ", "", 'x = /[}"]/;\n  y();\n}', 'x = /[}"]/;\n  y();\n}'),
    ("javascript", "x();\n", "", "function f() {\n  return `}`;\n}", "function f() {\n  return `}`;\n}"),
    ("go", "package main\n\nfunc f() int {\n\t", "", "return 1\n}", "return 1\n}"),
    ("go", "func f() {\n\tg()\n}\n\n", "", "package main\n", ""),
    ("rust", "fn f<'a>(x: &'a str) {\n    ", "", "g('}');\n}", "g('}');\n}"),
    ("c", "int f(void)\n{\n\t", "", "return 1;\n}", "return 1;\n}"),
    ("c", "int x;\n", "", "#include <stdio.h>\n", ""),
    ("csharp", "class A\n{\n    int f()\n    {\n        ", "\n    }\n}\n", "return 1;\n    }", "return 1;"),
    ("ruby", "class A\n  def f\n    ", "", "g\n  end\n", "g\n  end"),
    ("ruby", "class A\n  def f\n    ", "\n  end\nend\n", "g\n  end", "g"),
    ("lua", "local function f(x)\n  ", "", "return x\nend", "return x\nend"),
    # where nothing is known of blocks, nothing but indentation ends one
    ("markdown", "- one\n", "", "- two\n- three\n- four", None),
]  # fmt: skip
"""Language, text before and after the cursor, generated text, kept text; None: nothing ends it."""


@pytest.mark.parametrize(("prefix", "suffix", "text", "kept", "reason"), CASES)
def test_single_line(prefix: str, suffix: str, text: str, kept: str | None, reason: str | None) -> None:
    assert_stop(Situation.at(prefix, suffix, True, 1), text, kept, reason)


@pytest.mark.parametrize(("prefix", "suffix", "text", "kept", "reason"), BLOCK_CASES)
def test_block(prefix: str, suffix: str, text: str, kept: str | None, reason: str | None) -> None:
    assert_stop(Situation.at(prefix, suffix, False, 8), text, kept, reason)


def assert_stop(situation: Situation, text: str, kept: str | None, reason: str | None) -> None:
    stop = check(text, situation)
    assert (stop and stop[0]) == reason
    if stop and kept is not None:
        assert text[: stop[1]] == kept


def test_blank_lines_before_the_line_do_not_stop_it() -> None:
    """Checked after every character."""
    situation, text = Situation.at("x = 1\n", "", True, 1), "\n\ny = 2\n"
    stops = [check(text[:length], situation) for length in range(1, len(text) + 1)]
    assert stops == [None] * (len(text) - 1) + [("end_of_line", len(text) - 1)]


def test_no_more_than_max_lines() -> None:
    stop = check("\n    a\n    b\n    c", Situation.at("if x:", "", False, 2))
    assert stop == ("end_of_block", len("\n    a"))


@pytest.mark.parametrize(("language", "prefix", "suffix", "text", "kept"), LANGUAGE_CASES)
def test_a_completion_ends_with_the_cursors_block(
    language: str, prefix: str, suffix: str, text: str, kept: str | None
) -> None:
    """Checked after every character, as the tokens may come."""
    at = Situation.at(prefix, suffix, False, 8, language)
    stops = ((length, check(text[:length], at)) for length in range(1, len(text) + 1))
    stop = next(((length, stop) for length, stop in stops if stop), None)
    shown = finished(text[: stop[1][1]], stop[1][0], at) if stop is not None else None
    assert shown == kept


@pytest.mark.parametrize(
    ("language", "prefix", "text", "reason", "kept"),
    [
        # what a limit breaks off
        ("python", "def f():\n    ", "a = 1\n    b = fir", "max_tokens", "a = 1"),
        ("python", "def f():\n    ", "a = first(second) + thi", "max_tokens", "a = first(second) +"),
        ("python", "def f():\n    ", "a = [1, 2, 3, ", "budget", "a ="),
        # a header wants its block, a decorator its function
        ("python", "def f():\n    ", "a = 1\n    if a:\n        b = ", "max_tokens", "a = 1"),
        ("python", "class A:\n    ", "a = 1\n\n    @property\n    def f", "max_tokens", "a = 1"),
        # brackets and strings
        ("python", "def f():\n    ", "a = 1\n    b = g(\n        a,\n", "max_tokens", "a = 1"),
        ("python", "def f():\n    ", 'a = 1\n    b = r"[a-z\n', "end_of_text", "a = 1"),
        ("python", "def f():\n    ", 'a = 1\n    b = """One.\n    Two.\n', "end_of_text", "a = 1"),
        (
            "java",
            "class A {\n    void f() {\n        ",
            "g();\n        if (a) {\n            h();\n",
            "end_of_block",
            "g();",
        ),
        ("python", "a = ", "[0, 0", "repetition", ""),
        # blank lines
        ("python", "def f():\n    ", "a = 1\n\n", "end_of_text", "a = 1"),
        ("python", 'def f():\n    """', "One.\n\n    Two.\n", "end_of_text", "One.\n\n    Two."),
    ],
)
def test_a_completion_ends_where_the_language_can_end(
    language: str, prefix: str, text: str, reason: str, kept: str
) -> None:
    assert finished(text, reason, Situation.at(prefix, "", False, 8, language)) == kept
