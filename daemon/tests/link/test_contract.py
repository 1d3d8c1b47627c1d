"""Both sides of the protocol have the same names, and every reason has an explanation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import green_code
from green_code.link import messages
from green_code.lsp.explain import TEXTS

ROOT = Path(__file__).resolve().parents[3]


def literals(path: Path) -> set[str]:
    """Every string literal of a TypeScript file, comments left out."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {match[2] for match in re.finditer(r"""(['"`])((?:(?!\1).)*)\1""", text)}


def lsp_names() -> set[str]:
    names = {value for name, value in vars(messages).items() if name.startswith("LSP_")}
    return names | {messages.COMMAND_ACCEPTED}


def test_protocol_ts_has_our_methods_states_and_reasons_and_no_others() -> None:
    """On failure change extension/src/protocol.ts or link/messages.py: the two are one list."""
    kinds = (messages.State, messages.StopReason, messages.Refusal, messages.Decoding, messages.Drafter)
    ours = lsp_names().union(*map(get_args, kinds))
    assert literals(ROOT / "extension" / "src" / "protocol.ts") == ours


def test_the_protocol_page_names_everything() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    values = [value for name, value in vars(messages).items() if name.isupper() and isinstance(value, str)]
    missing = [name for name in (*values, *get_args(messages.State)) if name not in page]
    shapes = (messages.CompletionParams, messages.CompletionResult, messages.EnergyMessage, messages.EngineStatus)
    missing += [key for shape in shapes for key in shape.__annotations__ if f"`{key}" not in page and key not in page]
    assert not missing


def test_every_reason_has_an_explanation() -> None:
    reasons = {*get_args(messages.StopReason), *get_args(messages.Refusal)}
    assert reasons <= set(TEXTS)
    assert all(text.sentence.endswith(".") for text in TEXTS.values())


def test_the_extension_has_the_same_explanations_and_no_others() -> None:
    """On failure change lsp/explain.py or extension/l10n/texts.json: the English texts of the ids `why.` are one list."""
    rows = json.loads((ROOT / "extension" / "l10n" / "texts.json").read_text(encoding="utf-8"))
    ours = {f"why.{code}": text.sentence for code, text in TEXTS.items()}
    ours |= {f"why.{code}.action": text.action for code, text in TEXTS.items() if text.action}
    assert {name: row["en"] for name, row in rows.items() if name.startswith("why.")} == ours


def test_the_front_and_the_link_do_not_load_the_model_side() -> None:
    """~1 s and 50 MB are the front's budget; torch alone is over both."""
    script = (
        "import sys, green_code.lsp.server, green_code.link.server, green_code.link.discovery\n"
        "import green_code.engine.process, green_code.cli, green_code.cli.complete\n"
        "heavy = {'torch', 'transformers', 'numpy', 'tokenizers', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(green_code.__file__).resolve().parents[1])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
