"""When an engine that has lost its device may end for it, from one engine to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from green_code.engine.device_losses import HELD_SECONDS, LAST_RESTART_SECONDS, RESTART_SECONDS, DeviceLosses


def wait_seconds(path: Path, served_seconds: float | None = None) -> float:
    """What the next engine waits after it has lost the device."""
    now = 0.0
    losses = DeviceLosses(path, lambda: now)
    if served_seconds is not None:
        losses.serves()
        now += served_seconds
    losses.lost()
    lost_at = now
    while not losses.restart_is_due:
        losses.lost()  # once more in the same engine: a second model
        now += 5
    return now - lost_at


def test_each_engine_waits_twice_as_long_up_to_a_bound(tmp_path: Path) -> None:
    found = [wait_seconds(tmp_path / "losses", served_seconds=1) for _ in range(11)]
    assert found[:4] == [RESTART_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert found[-2:] == [LAST_RESTART_SECONDS] * 2


def test_a_device_that_has_served_for_a_while_begins_anew(tmp_path: Path) -> None:
    for _ in range(3):
        wait_seconds(tmp_path / "losses")
    assert wait_seconds(tmp_path / "losses", HELD_SECONDS) == RESTART_SECONDS
    assert wait_seconds(tmp_path / "losses") == 2 * RESTART_SECONDS


def test_an_engine_that_served_for_a_while_and_ended_without_a_loss_ends_the_row(tmp_path: Path) -> None:
    for _ in range(3):
        wait_seconds(tmp_path / "losses")
    now = 0.0
    good = DeviceLosses(tmp_path / "losses", lambda: now)
    good.serves()
    now += HELD_SECONDS
    good.serves()
    assert wait_seconds(tmp_path / "losses") == RESTART_SECONDS


@pytest.mark.parametrize("damage", ["", "-1", "many", "1e999", "[3]"])
def test_a_damaged_file_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "losses").write_text(damage)
    assert wait_seconds(tmp_path / "losses") == RESTART_SECONDS


def test_where_nothing_can_be_kept_an_engine_waits_longest(tmp_path: Path) -> None:
    assert wait_seconds(tmp_path / "missing" / "losses") == LAST_RESTART_SECONDS
