"""Are small functions completed right, and does a completion end with its function?

Fifty functions of our own, each with signature, docstring and assertions, were written for this measurement and are part of no corpus.
The cursor stands behind the docstring, where the editor has indented; *at the margin* it has not. Each is completed once by a new session, with
at most eight lines: *by hand* without a stop, *automatic* with the stop that the settings have by default. A function passes if its assertions
hold, in a process of its own with limits of time and memory and without network, files or other programs. What counts as a run-away is read from the syntax
tree and from Python's tokenizer, which the engine has not: text behind the function, text behind the end of its body (a statement that nothing
reaches), blank lines at the end, and an end within a bracket or a string.
"""

from __future__ import annotations

import ast
import functools
import io
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from green_code.engine.loading import Runtime
from green_code.engine.requests import completion_params
from green_code.link.messages import CompletionResult, Decoding
from green_code.settings import TOKENS_PER_LINE, default_settings
from green_code_lab.experiments.common import UNTOUCHED, drafting_policy, facts, untouched
from green_code_lab.experiments.experiment import Args, Experiment, Found, Report, Table, mean_figure
from green_code_lab.experiments.plots import Bars

LINES = 8
_SECONDS, _BYTES = 5, 1 << 30
_FILE = Path(__file__).parent / "functions.txt"
_RESTRICTED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({_SECONDS}, {_SECONDS}))
resource.setrlimit(resource.RLIMIT_AS, ({_BYTES}, {_BYTES}))
def refuse(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.", "shutil.", "ctypes.")) or (event == "open" and arguments[1] not in ("r", "rb")):
        raise PermissionError(event)
program = sys.stdin.read()
sys.addaudithook(refuse)
exec(compile(program, "function", "exec"), {{"__name__": "function"}})
"""


class Function(NamedTuple):
    """Its signature and docstring, and assertions."""

    header: str
    assertions: str


def functions() -> list[Function]:
    """All fifty."""
    found = []
    for block in _FILE.read_text("utf-8").split("\n\n\n"):
        header, _, assertions = block.strip().partition("\nassert ")
        found.append(Function(f"{header}\n", f"assert {assertions}\n"))
    return found


@functools.cache
def passes(function: Function, text: str) -> bool:
    """Whether its assertions hold with this body, which is indented."""
    program = f"{function.header}{text}\n\n\n{function.assertions}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-S", "-c", _RESTRICTED]
        try:
            run = subprocess.run(command, input=program.encode(), capture_output=True, timeout=4 * _SECONDS, cwd=folder)
        except subprocess.TimeoutExpired:
            return False
    return run.returncode == 0


def run_away(header: str, text: str) -> str | None:
    """How a completion goes beyond its function or ends within something; None: it does not."""
    if text != text.rstrip():
        return "blank lines at the end"
    if any(line[:1].strip() for line in text.split("\n")):
        return "text behind the function"
    source = header + text
    try:
        (function,) = ast.parse(source).body
    except SyntaxError:
        return "end within a bracket or string" if _is_open(source) else None
    return "text behind the body" if _goes_on(function) else None


def _is_open(source: str) -> bool:
    """Whether a bracket or a string is open at the end."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source + "\n").readline))
    except tokenize.TokenError as error:
        return "EOF" in str(error) or "unterminated" in str(error)
    except SyntaxError:
        return False  # indentation that fits nothing
    return any(token.type == tokenize.ERRORTOKEN and token.string[0] in "'\"" for token in tokens)  # before Python 3.12


def _goes_on(function: ast.AST) -> bool:
    ends = (ast.Return, ast.Raise, ast.Break, ast.Continue)
    blocks = [getattr(node, name, None) for node in ast.walk(function) for name in ("body", "orelse", "finalbody")]
    return any(isinstance(each, ends) for block in blocks if isinstance(block, list) for each in block[:-1])


def measure(runtime: Runtime, args: Args, report: Report) -> Found:
    """Each model in each mode."""
    chosen, usual = functions()[: args.limit], default_settings()
    adapted: list[tuple[Decoding, str]] = [
        ("full", "full"),
        ("exact", drafting_policy(runtime)),
        ("fast", drafting_policy(runtime)),
    ]
    models = [(Path(runtime.model).name, runtime, adapted), (UNTOUCHED, untouched(runtime), adapted[:1])]
    arms, completions = list[Found](), list[Found]()
    for name, model, modes in models:
        for decoding, policy in modes:
            for request, stop, indentation in _requests(usual.suggestions):
                results = list[CompletionResult]()
                for function in chosen:
                    params = completion_params(
                        function.header + indentation, model=model.model, decoding=decoding, policy=policy, threshold=usual.threshold, stop=stop,
                        single_line=False, max_lines=LINES, max_tokens=TOKENS_PER_LINE * LINES,
                    )  # fmt: skip
                    results.append(model.new_session().complete(params, lambda: None, budget_seconds=float("inf")))
                texts = [each["text"] and indentation + each["text"] for each in results]
                arms.append(
                    {
                        "arm": f"{name}, {decoding}",
                        "model": name,
                        "decoding": decoding,
                        "request": request,
                        **_figures(chosen, texts, results),
                    }
                )
                _keep(completions, f"{name}, {decoding}, {request}", dict(zip(map(_name, chosen), texts, strict=True)))
                report(f"{name}, {decoding}, {request}: {arms[-1]['passed'][0]:.0%}, {arms[-1]['run_aways']} run-aways")
    limits = f"{LINES} lines, {TOKENS_PER_LINE * LINES} tokens; no limit of time"
    settings = {
        "data": f"{len(chosen)} functions ({_FILE.name})",
        "completion": limits,
        "stop, automatic": usual.suggestions,
        **facts(runtime),
    }
    return {"settings": settings, "arms": arms, "completions": completions}


def _name(function: Function) -> str:
    return function.header.partition("(")[0].removeprefix("def ")


def _requests(usual: str) -> tuple[tuple[str, float | str, str], ...]:
    """Name, stop, and the indentation at the cursor."""
    return ("by hand", 0.0, "    "), ("by hand, at the margin", 0.0, ""), ("automatic", usual, "    ")


def _keep(completions: list[Found], arm: str, texts: dict[str, str]) -> None:
    """Equal texts are kept once, with the arms that gave them."""
    for each in completions:
        if each["texts"] == texts:
            each["arms"].append(arm)
            return
    completions.append({"arms": [arm], "texts": texts})


def _figures(chosen: list[Function], texts: list[str], results: list[CompletionResult]) -> dict[str, Any]:
    kinds = Counter(filter(None, (run_away(each.header, text) for each, text in zip(chosen, texts, strict=True))))
    return {
        "shown": fmean(bool(text) for text in texts),
        "passed": mean_figure([float(bool(text) and passes(each, text)) for each, text in zip(chosen, texts, strict=True)]),
        "run_aways": sum(kinds.values()),
        "kinds": ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()) or "–",
        "tokens": fmean(each["tokens"] for each in results),
        "joules": fmean(each["energy_joules"] for each in results),
    }  # fmt: skip


EXPERIMENT = Experiment(
    "functions", "Fifty small functions", __doc__, measure, {"limit": 50},
    (
        Table(
            "arms", "Pass rate and run-aways",
            "*Shown*: completions with a text. *Passed*: of all fifty. *Joules*: of a completion with its prompt, cold.",
            (
                ("model", "model", ""), ("mode", "decoding", ""), ("request", "request", ""), ("kinds", "kinds", ""), ("run-aways", "run_aways", "0"),
                ("shown", "shown", "%0"), ("passed", "passed", "%0"), ("tokens", "tokens", "1"), ("joules", "joules", "2"),
            ),
        ),
    ),
    Bars("Share of fifty functions that pass", "arms", "request", "arm", (("passed", "passed"),), "share that passes"),
)  # fmt: skip
