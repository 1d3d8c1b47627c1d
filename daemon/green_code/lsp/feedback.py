"""Feedback: what the user does with suggestions, and who learns of it: the ledger, the gate, and what is not offered again.

Must not know: how a suggestion is made or shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from green_code.lsp.dismissed import Dismissed
from green_code.lsp.documents import Edit
from green_code.lsp.gate import Gate
from green_code.lsp.gate_features import OutcomeHistory
from green_code.lsp.outcomes import Outcomes, Position, Shown
from green_code.lsp.retention import RetentionWatch
from green_code.lsp.supervisor import Supervisor


class Feedback:
    """That of one window. Times are seconds of any one clock.

    Args:
        lines: the lines of a document; None if it is closed.
        on_gone: called with a suggestion that the text does not agree with any more.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        gate: Gate,
        lines: Callable[[str], Sequence[str] | None],
        on_gone: Callable[[Shown], None],
    ) -> None:
        self._supervisor, self._gate = supervisor, gate
        self._retention = RetentionWatch(lines, supervisor.retained)
        self.outcomes = Outcomes(self._characters_accepted, self._outcome_known, on_gone)
        self.history = OutcomeHistory()
        self.rejected = Dismissed()

    def change(self, uri: str, start: Position, end: Position, text: str, edit: Edit, now: float) -> None:
        """The text between two positions was replaced; see `Outcomes.change`."""
        self._retention.follow(uri, edit)
        self.outcomes.change(uri, start, end, text, edit, now)
        self.rejected.follow(uri, edit)

    def accepted(self, row_id: str, characters: int | None, now: float) -> None:
        """The user accepted a suggestion: so many characters of it, or all that is left."""
        self.outcomes.accept(row_id, characters, now)

    def dismissed(self, now: float) -> None:
        """The user pressed Escape on the visible suggestion."""
        if (shown := self.outcomes.dismiss(now)) is not None:
            self._reject(shown, by_hand=True)

    def close(self) -> None:
        """The window closes."""
        self._retention.close()

    def _reject(self, shown: Shown, by_hand: bool = False) -> None:
        before = (shown.before + shown.text[: shown.at]).rpartition("\n")[2]
        self.rejected.add(shown.uri, shown.position(shown.at)[0], before, shown.text[shown.at :], by_hand)

    def _characters_accepted(self, shown: Shown, characters: int) -> None:
        self._supervisor.accepted(shown.row_id, characters)
        self._retention.accept(shown.row_id, shown.uri, shown.line, shown.before + shown.text[: shown.counted])

    def _outcome_known(self, shown: Shown, taken: bool, now: float) -> None:
        self._gate.learn(shown.inputs, taken)
        self.history.record(shown.uri, shown.line, shown.prefix, taken, now)
        if not taken:
            self._reject(shown)
