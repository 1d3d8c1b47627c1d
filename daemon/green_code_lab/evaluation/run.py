"""Complete rows through the same sessions that serve editors, and score them.

DIR/rows.jsonl gets one object of `complete --json` a row with its id and scores, at once, so that an interrupted run
resumes; DIR/summary.json is written at the end. DIR/run.json identifies the run.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from green_code.engine.loading import Runtime
from green_code.link.messages import CompletionParams
from green_code.problems import Problem
from green_code.work import prompt_layer_positions
from green_code_lab.evaluation import metrics
from green_code_lab.evaluation.codebleu import syntax_match, weighted_bleu
from green_code_lab.evaluation.datasets import Row, rows_digest, source_text
from green_code_lab.evaluation.parallel import Complete, cold


def score(text: str, row: Row) -> dict[str, float | None]:
    """Exact match (0 or 1), edit similarity, BLEU, weighted BLEU and chrF (0 … 100), ROUGE-L and syntax match (0 … 1).

    None: the reference has no syntax to match.
    """
    got, want = (metrics.tokenise(text), metrics.normalise(row.reference)) if row.tokenised else (text, row.reference)
    source = source_text(row.reference, row.language) if row.tokenised else row.reference
    return {
        "exact_match": metrics.exact_match(got, want),
        "edit_similarity": metrics.edit_similarity(got, want),
        "rouge_l": metrics.rouge_l(got, want),
        "bleu": metrics.bleu(got, want),
        "weighted_bleu": weighted_bleu(metrics.words(got), metrics.words(want), row.language),
        "chrf": metrics.chrf(got, want),
        "syntax_match": syntax_match(text, source, row.language),
    }


def evaluate(
    runtime: Runtime,
    rows: Sequence[Row],
    params: CompletionParams,
    report: Callable[[str], None],
    out: Path | None = None,
    complete: Complete | None = None,
) -> list[dict[str, Any]]:
    """Complete and score each row, in a fresh session by default. `params`: all but prefix, suffix, language.

    Raises Problem where `out` has another run.
    """
    done: list[dict[str, Any]] = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        scores = list(score("", Row("", "", "", "", "")))
        run = {**_common(params), "weights": runtime.weights, "rows": rows_digest(rows), "scores": scores}
        done = _earlier(out, {**run, "layout": asdict(runtime.layout), "costs": asdict(runtime.costs)})
    left = rows[len(done) :]
    results = (complete or cold(runtime))(_request(params, row) for row in left)
    for i, (row, result) in enumerate(zip(left, results, strict=True), len(done)):
        done.append({**result, "id": row.id, "language": row.language, **score(result["text"], row)})
        if out is not None:
            with (out / "rows.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
        if i % 50 == 49:
            report(f"{i + 1}/{len(rows)} rows")
    if out is not None:
        summary = {"params": _common(params), **summarise(done)}
        (out / "summary.json").write_text(json.dumps(summary, indent=1), "utf-8")
    return done


def _request(params: CompletionParams, row: Row) -> CompletionParams:
    return {**params, "prefix": row.prefix, "suffix": row.suffix, "language": row.language, "session": row.id}


def _common(params: CompletionParams) -> dict[str, Any]:
    """What all requests of a run share."""
    return {k: v for k, v in params.items() if k not in ("prefix", "suffix", "session", "language")}


def _earlier(out: Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an interrupted run of the same configuration and rows; an incomplete last line is dropped."""
    marker, rows = out / "run.json", out / "rows.jsonl"
    if rows.is_file() and not (marker.is_file() and json.loads(marker.read_text("utf-8")) == run):
        raise Problem("bad_request", f"{out} has another run; use another --out folder, or delete it.")
    marker.write_text(json.dumps(run), "utf-8")
    lines = rows.read_text("utf-8").splitlines(keepends=True) if rows.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]
    rows.write_text("".join(whole), "utf-8")
    return [json.loads(line) for line in whole]


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means by language and over all, with 95 % bootstrap intervals over rows."""
    languages = sorted({row["language"] for row in rows})
    groups = {"all": list(rows), **{name: [r for r in rows if r["language"] == name] for name in languages}}
    return {name: _means(group) for name, group in groups.items() if group}


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tokens = sum(r["tokens"] for r in rows)
    depth = [e for r in rows for e in r["exits"]]
    layers = rows[0]["layers_total"]
    # Forward passes after the prompt's; the end of the text is one too.
    passes = sum(max(0, r["tokens"] + (r["reason"] == "end_of_text") - 1) for r in rows)
    full_layers = layers * passes
    prompt = sum(prompt_layer_positions(layers, r["prompt_tokens"] - r["prompt_reused"]) for r in rows)
    joules, full = sum(r["energy_joules"] for r in rows), sum(r["energy_full_joules"] for r in rows)
    similarity = [r["edit_similarity"] for r in rows]
    matched = [r["syntax_match"] for r in rows if r["syntax_match"] is not None]
    overlaps = ("rouge_l", "bleu", "weighted_bleu", "chrf")
    run, prompt_run = (sum(r[name] for r in rows) for name in ("layers_run", "prompt_layers_run"))
    return {
        "rows": len(rows),
        "tokens": tokens,
        "exact_match": statistics.fmean(r["exact_match"] for r in rows),
        "edit_similarity": statistics.fmean(similarity),
        "edit_similarity_interval": metrics.bootstrap_interval(similarity),
        **{name: statistics.fmean(r[name] for r in rows) for name in overlaps},
        "syntax_match": statistics.fmean(matched) if matched else None,
        "mean_depth": statistics.fmean(depth) if depth else 0.0,
        "body_share_decode": run / full_layers if full_layers else 0.0,
        "body_share": (run + prompt_run) / (full_layers + prompt) if prompt else 0.0,
        "energy_joules": joules,
        "energy_full_joules": full,
        "energy_source": rows[0]["energy_source"],
        "saving": 1 - joules / full if full else 0.0,
        "cpu_seconds": sum(r["cpu_seconds"] for r in rows),
    }
