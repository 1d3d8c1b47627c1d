"""The page of the experiment `rewards`. Every sentence about a result is made from the data."""

from __future__ import annotations

from typing import Any

from green_code_lab.agent.ppo import Arguments
from green_code_lab.experiments.pages import (
    bullet,
    decimal,
    machine,
    paragraph,
    percent,
    reproduce,
    settling,
    table,
)
from green_code_lab.experiments.rewards import ENERGY, PAPER, SUPERVISED

_SETTINGS = f"entropy {Arguments.entropy}, discount {Arguments.discount:g}, rate {Arguments.learning_rate:g}; a run in which nearly every token leaves at the first exit is ended"


def page(found: dict[str, Any]) -> str:
    """Markdown of rewards.json's content."""
    first = found["exits"][0]
    parts = [
        "# What an agent learns from each reward",
        paragraph(
            "Asked: what the constants of the paper's reward do (α: leaving late, β: leaving early and wrong, γ: going on needlessly, which also divides all rewards), and what joules with a price on errors do instead."
        ),
        "## How it was measured",
        paragraph(
            f"Agents are trained on {found['positions']} recorded positions (PPO: {found['updates']} updates, seed {found['seed']}) and replayed on {found['held_out_positions']} of held-out projects: "
            "stretches of typing, eight completions over one cache, the first of them cold. Exits: "
            f"{', '.join(map(str, found['exits']))} of {found['layers']} layers; threshold 0.5. *Cost*: of a completion with its part of the prompt, in full-depth tokens at measured prices "
            f"(source: {found['energy_source']}), errors not counted. {settling(found)}*Error*: the price, in full-depth tokens, of a token other than the last layer's; twice that where the source's own token is lost by it, nothing where it is won. "
            f"All PPO is this project's ({_SETTINGS}); the paper's own has none, 0.99 and 5e-5, and stops no run. {machine(found)}"
        ),
        "![Agreement over cost](rewards.svg)",
        "## Results",
        "\n".join(bullet(_says(arm, first)) for arm in found["arms"] if arm["reward"] in (PAPER, ENERGY, SUPERVISED)),
        paragraph("*Agreement*: tokens that are the last layer's; *whole*: completions that are in every token; *accuracy*: tokens that are the source's."),
        table(
            ["reward", "setting", "cost", "saved", "mean depth", "agreement", "whole", "accuracy"],
            [_row(arm) for arm in found["arms"]],
        ),
        reproduce(found, f"It needs the rollouts of `green-code train rollouts --exits {','.join(map(str, found['exits']))}`."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _says(arm: dict[str, Any], first_exit: int) -> str:
    name = f"{arm['reward']}, {arm['setting']}"
    if "failed" in arm:
        return f"{name}: training ended: {arm['failed']}"
    collapsed = arm["depth"] < first_exit + 0.5
    return (
        f"{name}: mean depth {decimal(arm['depth'])}"
        + (", that is, the first exit nearly always" if collapsed else "")
        + f"; {percent(arm['saving'])} saved at {percent(arm['agreement'])} agreement."
    )


def _row(arm: dict[str, Any]) -> list[str]:
    if "failed" in arm:
        return [arm["reward"], arm["setting"], *["–"] * 6]
    return [
        arm["reward"], arm["setting"], f"{arm['cost']:.2f}", percent(arm["saving"]), decimal(arm["depth"]),
        f"{arm['agreement']:.3f}", f"{arm['whole']:.3f}", f"{arm['accuracy']:.3f}",
    ]  # fmt: skip
