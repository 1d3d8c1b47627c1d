"""Message names, states, reasons and shapes of both protocols.

docs/protocol.md describes them; a test compares this file with `extension/src/protocol.ts`. What arrives is checked against the
types here, with their limits (checks.py).
Must not know: how frames travel (framing.py), or what a model is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypedDict

from green_code.link.checks import AtMost, Between, Like, NumberOr, Visible, Without
from green_code.report import Totals
from green_code.settings import PRESETS, STOPS

PROTOCOL: Final = 7
"""Raised with every incompatible change; a front and an engine of different numbers never connect."""

# --- front and engine -------------------------------------------------------------------------------------
HELLO: Final = "hello"
COMPLETE: Final = "complete"
CANCEL: Final = "cancel"
SHOWN: Final = "shown"
ACCEPTED: Final = "accepted"
RETAINED: Final = "retained"
API_KEY: Final = "api_key"
STATUS: Final = "status"
ENERGY: Final = "energy"
WARNING: Final = "warning"
REPORT: Final = "report"
SHUTDOWN: Final = "shutdown"

# --- editor and front (LSP extensions) --------------------------------------------------------------------
LSP_ACCEPTED: Final = "greenCode/accepted"
LSP_DISMISSED: Final = "greenCode/dismissed"
LSP_EXPLAIN: Final = "greenCode/explain"
LSP_REPORT: Final = "greenCode/report"
LSP_RESTART_ENGINE: Final = "greenCode/restartEngine"
LSP_RESET_GATE: Final = "greenCode/resetGate"
LSP_API_KEY: Final = "greenCode/apiKey"
LSP_STATUS: Final = "greenCode/status"
LSP_ENERGY: Final = "greenCode/energy"
COMMAND_ACCEPTED: Final = "greenCode.accepted"

State = Literal["starting", "loading", "ready", "busy", "paused", "disabled", "error"]

Decoding = Literal["full", "fast", "exact"]

StopReason = Literal[
    "end_of_line",  # one line was requested and it is complete
    "end_of_block",  # indentation fell below the cursor's, or max_lines reached
    "closing_bracket",  # the next bracket would close one that the completion did not open
    "repetition",  # the completion began to repeat itself
    "suffix_reached",  # it reached the text that follows the cursor
    "end_of_text",  # the model ended the text
    "max_tokens",
    "budget",  # the time budget ran out
    "unsure",  # what follows is too unlikely to be right (`stop`)
]
"""Why generation ended; the text is usable."""

Refusal = Literal[
    "cancelled",
    "superseded",  # a newer request of the same document arrived
    "empty",  # the model had nothing to add
    "gated",  # the front's gate expects that nothing here would be accepted
    "unlikely",  # the engine stopped before there was anything worth showing
    "breaks_code",  # the front found no way to insert it beside the text around the cursor
    "dismissed",  # the user has rejected this text on this line
    "no_context",  # empty prefix
    "filtered",  # a guard of the front refused (excluded file, language, mid-word …)
    "in_comment",  # where greenCode.completeInComments is off
    "in_string",  # where greenCode.completeInStrings is off
    "paused_on_battery",
    "disabled",
    "engine_starting",
    "engine_lost",  # the engine ended during the request; it is restarted
    "engine_hanging",  # an engine runs but does not answer
    "model_missing",
    "model_damaged",
    "endpoint_failed",  # the server of greenCode.endpoint does not answer, or not with a completion
    "no_memory",  # the model does not fit, or not beside those of other windows
    "bundle_invalid",
    "cache_unwritable",  # no disk space, or a read-only home
    "other_version",
    "bad_request",
    "internal_error",
]
"""Why there is no text. Also the error codes of the link."""


Drafter = Literal["", "prompt_lookup", "ngrams", "exit"]
"""Who drafted a token; empty: nobody."""

PromptForm = Literal["prefix", "fim"]
"""What the model read: the text before the cursor alone, or also what follows it (fill-in-the-middle)."""


Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where the engine is to compute."""


Threshold = Annotated[float | str, NumberOr(lambda number: 0.5 <= number <= 1, "a number from 0.5 to 1", PRESETS)]
Stop = Annotated[float | str, NumberOr(lambda number: 0 <= number < 1, "a number from 0 to below 1", tuple(STOPS))]

Key = Annotated[str, AtMost(1 << 16)]
"""A document's, or its path."""
RowId = Annotated[str, AtMost(64)]
Characters = Annotated[int, Between(0, 1 << 24)]
"""No frame has a longer text."""

_POLICY: Final = re.compile(r"full|agent|fixed:[1-9][0-9]{0,3}|confidence:(0?\.[0-9]{1,20}|0|1|1\.0{1,20}|0\.)")


class NoParams(TypedDict):
    """Of `status`, `report` and `shutdown`."""


class _Version(TypedDict):
    protocol: int
    version: Annotated[str, AtMost(64)]


class Hello(TypedDict, total=False):
    """What a client may ask for: the engine begins to load the model. The window's name is for messages to other windows.

    `gpu_reserve`: GB of a card's memory that stay free for other programs, from now on and for all windows.
    """

    model: Annotated[str, AtMost(4096), Without("\0")]
    device: Device
    gpu_reserve: Annotated[float, Between(0, 1000)]
    window: Annotated[str, AtMost(255), Without("\0")]


class HelloParams(_Version, Hello, total=False):
    """What comes first."""


class CancelParams(TypedDict):
    """The number of a request."""

    id: int


class ShownParams(TypedDict):
    """The editor shows so many characters of a completion, which is named by its row in the ledger."""

    id: RowId
    characters: Characters


class _Row(TypedDict):
    id: RowId


class AcceptedParams(_Row, total=False):
    """So many characters more of a completion were inserted; without a number, all that are left."""

    characters: Characters | None


class RetainedParams(_Row):
    """An accepted completion was still there half a minute later."""


class ApiKeyParams(TypedDict):
    """The API key of a server, for requests to its origin; empty: none. No message, log or file repeats it."""

    endpoint: Annotated[str, AtMost(2048)]
    api_key: Annotated[str, Visible(), AtMost(8192)]


class Snippet(TypedDict):
    """Lines of another open file that resemble those around the cursor."""

    path: Key
    """Relative to the workspace folder, with slashes."""
    text: str


class CompletionParams(TypedDict):
    """Everything that the engine needs for a completion."""

    session: Key
    prefix: str
    suffix: str
    language: Annotated[str, AtMost(100)]
    model: Annotated[str, AtMost(4096), Without("\0")]
    """A name or a path, or the address of a server."""
    device: Device
    decoding: Decoding
    policy: Annotated[str, Like(_POLICY, "full, agent, fixed:LAYER, confidence:FRACTION")]
    threshold: Threshold
    max_tokens: Annotated[int, Between(1, 4096)]
    single_line: bool
    max_lines: Annotated[int, Between(1, 1000)]
    max_prompt_tokens: Annotated[int, Between(1, 1 << 20)]
    stop: Stop
    """The completion ends where the probability that all of it is right falls under this number, or a preset's; 0: never."""
    alternatives: Annotated[int, Between(0, 3)]
    """How many further texts to compute that begin differently; only a request by hand asks for some."""
    place: Annotated[list[float], AtMost(256)]
    """The front's features of the place, in the order of `lsp/gate_features.NAMES`; empty where there are none."""
    path: Key
    """The document's, relative to the workspace folder, with slashes; empty where it has none."""
    snippets: Annotated[list[Snippet], AtMost(8)]
    """Of other open files, the most similar one last; only where the engine reads them (`EngineStatus`)."""


PARAMS: Final[Mapping[str, type[Any]]] = {
    HELLO: HelloParams,
    COMPLETE: CompletionParams,
    CANCEL: CancelParams,
    SHOWN: ShownParams,
    ACCEPTED: AcceptedParams,
    RETAINED: RetainedParams,
    API_KEY: ApiKeyParams,
    STATUS: NoParams,
    REPORT: NoParams,
    SHUTDOWN: NoParams,
}
"""What a client may send, and its parameters."""


class CompletionResult(TypedDict):
    """The object of `green-code complete --json`; docs/protocol.md explains the keys."""

    id: str
    text: str
    tokens: int
    token_texts: list[str]
    exits: list[int]
    drafts: list[Drafter]
    """Who drafted each token; empty where nobody did."""
    passes: int
    """Batches that the last layer decoded, or in `fast` the exits."""
    layers_run: int
    layers_total: int
    prompt: PromptForm
    prompt_tokens: int
    prompt_reused: int
    prompt_layers_run: int
    energy_joules: float
    energy_full_joules: float
    energy_source: str
    saving: float
    wall_seconds: float
    cpu_seconds: float
    reason: str
    confidence: float
    """Estimated probability that the whole text is right."""
    alternatives: list[str]


class StatusMessage(TypedDict):
    """State of the engine, or of a window."""

    state: State
    message: str
    progress: float | None
    reason: str | None


class Agreement(TypedDict):
    """Completions of `fast` that were repeated at full depth, and how many texts were the same.

    `calibrated` is the expected share at the threshold in force, None without a calibration; `raised_to` is the lowest
    threshold still in use, None if none was raised.
    """

    checks: int
    agreed: int
    calibrated: float | None
    raised_to: float | None


class EngineStatus(StatusMessage):
    """The answer to `status`, and the `status` notification."""

    model: str | None
    layers_total: int
    exits: list[int]
    resident_bytes: int | None
    agreement: Agreement | None
    costs_assumed: bool
    """Whether joules are counted at assumed costs until those of this machine are measured."""
    device: str
    """Where the model computes: "cpu", "cuda", "mps", or "remote" for a server; empty without a model."""
    reads_snippets: bool
    """Whether the model's prompt has a place for lines of other files."""


class EnergyMessage(TypedDict):
    """The `energy` notification; `session` holds the totals of this connection."""

    today: Totals
    session: Totals
    mean_layers: float
    layers_total: int
    model: str
    last_exits: list[int]
    threshold: float | str
    agreement: Agreement | None


class WindowEnergy(EnergyMessage):
    """`greenCode/energy`, from the front to the editor."""

    on_battery: bool


class WarningMessage(TypedDict):
    """The `warning` notification: a sentence that a client shows once."""

    message: str


class TokenDepth(TypedDict):
    """One token of the last completion, the layer that decoded it, and who drafted it."""

    text: str
    layers: int
    draft: Drafter


class LastCompletion(TypedDict):
    """The last completion, for Why No Suggestion?"""

    text: str
    tokens: list[TokenDepth]
    passes: int
    layers_total: int
    energy_joules: float
    energy_source: str
    saving: float
    threshold: float | str
    decoding: str


class Explanation(TypedDict):
    """Answer to `greenCode/explain`."""

    reason: str
    code: str
    """Which sentence: the reason, or a finer one such as a guard's name. An editor may have the sentence in its language."""
    values: dict[str, str]
    """What the sentence's placeholders stand for; `detail` is a failure's own message, in English."""
    message: str
    action: str
    uri: str | None
    """The document of the last request; None before the first."""
    seconds_ago: float | None
    last: LastCompletion | None
