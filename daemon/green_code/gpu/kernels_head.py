"""From previewed logits to the top token and the exit classifier's decision.

As in kernels/svd_head.h: tokens within LOGIT_RANGE of the greatest preview are candidates, CANDIDATES of them at most. Their logits are
exact, from the head's own rows, where the preview only approximates them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from green_code.gpu.control import BOUND, EXIT, PENDING, ROWS
from green_code.gpu.kernels_linear import softcapped
from green_code.models import backend

LOGIT_RANGE = tl.constexpr(backend.LOGIT_RANGE)
CANDIDATES = tl.constexpr(backend.CANDIDATES)
MAX_LOG_ODDS = tl.constexpr(backend.MAX_LOG_ODDS)
BINS = tl.constexpr(64)  # of the range, in which candidates are counted
BLOCK_V = tl.constexpr(1024)
NOTHING = tl.constexpr(-1e30)


@triton.jit
def _bins(preview, maxima, row, tokens, blocks, BLOCK_B: tl.constexpr):
    """The previews of a block of tokens, and their bins: 0 is nearest to the greatest, BINS or more is no candidate."""
    token = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    logits = tl.load(preview + row * tokens + token, token < tokens, NOTHING)
    block = tl.arange(0, BLOCK_B)
    greatest = tl.max(tl.load(maxima + row * blocks + block, block < blocks, NOTHING), 0)
    behind = tl.minimum(greatest - logits, 2 * LOGIT_RANGE)
    return token, logits, (behind * (BINS / LOGIT_RANGE)).to(tl.int32)


@triton.jit
def count_candidates(control, preview, maxima, counts, tokens, blocks,
                     BLOCK_B: tl.constexpr):  # fmt: skip
    """How many tokens of `preview` (rows, tokens) fall into each bin: added to `counts` (rows, BINS). Grid: rows, blocks of tokens."""
    row = tl.program_id(0)
    if row >= tl.load(control + ROWS):
        return
    _, _, bins = _bins(preview, maxima, row, tokens, blocks, BLOCK_B)
    tl.atomic_add(counts + row * BINS + bins, 1, (bins >= 0) & (bins < BINS))  # NaN has no bin


@triton.jit
def score_candidates(control, preview, maxima, counts, normed, head, scores, tokens, blocks, width, normed_width, scale, cap,
                     EXACT: tl.constexpr, CAPPED: tl.constexpr, BLOCK_B: tl.constexpr,
                     BLOCK_C: tl.constexpr):  # fmt: skip
    """Of each block of tokens, into `scores` (rows, blocks of tokens, 4): the greatest logit g among its candidates, the token, the second
    logit, and the sum of exp(logit − g) over the others. Grid: as before.

    EXACT: logits are those of `normed` (rows, normed_width) and the rows of `head` (tokens, width), times `scale`.
    """
    row = tl.program_id(0)
    if row >= tl.load(control + ROWS):
        return
    token, logits, bins = _bins(preview, maxima, row, tokens, blocks, BLOCK_B)
    bin = tl.arange(0, BINS)
    reached = tl.cumsum(tl.load(counts + row * BINS + bin), 0)
    last = tl.maximum(tl.sum((reached <= CANDIDATES).to(tl.int32), 0) - 1, 0)  # the first bin counts in any case
    chosen = (bins >= 0) & (bins <= last)
    logits = tl.where(chosen, logits, NOTHING)
    if EXACT:
        column, left = tl.arange(0, BLOCK_C), chosen
        x = tl.load(normed + row * normed_width + column, column < width, 0).to(tl.float32)
        for _ in range(tl.sum(chosen.to(tl.int32), 0)):
            name = tl.min(tl.where(left, token, tokens), 0)
            weights = tl.load(head + name.to(tl.int64) * width + column, column < width, 0).to(tl.float32)
            logit = tl.sum(x * weights, 0) * scale
            if CAPPED:
                logit = softcapped(logit, cap)
            logits = tl.where(token == name, logit, logits)
            left = left & (token != name)
    best, greatest = tl.argmax(logits, 0), tl.max(logits, 0)
    other = tl.where(token == best + tl.program_id(1) * BLOCK_V, NOTHING, logits)
    place = scores + (row * tl.num_programs(1) + tl.program_id(1)) * 4
    tl.store(place, greatest)
    tl.store(place + 1, (best + tl.program_id(1) * BLOCK_V).to(tl.float32))
    tl.store(place + 2, tl.max(other, 0))
    tl.store(place + 3, tl.sum(tl.where(other > NOTHING, tl.exp(other - greatest), 0.0), 0))


@triton.jit
def top_rows(control, scores, counts, results, blocks, BLOCK: tl.constexpr):
    """The top token of each row from the `scores` of its blocks of tokens, with log-odds and margin as `backend.TopToken` defines them,
    into `results` (rows, 4); `counts` are zeros again. Grid: rows."""
    row = tl.program_id(0)
    if row >= tl.load(control + ROWS):
        return
    tl.store(counts + row * BINS + tl.arange(0, BINS), tl.zeros((BINS,), tl.int32))
    block = tl.arange(0, BLOCK)
    there, place = block < blocks, scores + (row * blocks + block) * 4
    logit = tl.load(place, there, NOTHING)
    best, greatest = tl.argmax(logit, 0), tl.max(logit, 0)
    others = tl.load(place + 3, there, 0)
    shares = tl.where(block == best, others, (1.0 + others) * tl.exp(logit - greatest))
    total = tl.sum(shares, 0)
    second = tl.max(tl.where(block == best, tl.load(place + 2, there, NOTHING), logit), 0)
    log_odds = tl.where(total > 0, -tl.log(tl.maximum(total, 1e-30)), MAX_LOG_ODDS)
    tl.store(results + row * 4, tl.load(scores + (row * blocks + best) * 4 + 1))
    tl.store(results + row * 4 + 1, tl.minimum(tl.maximum(log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS))
    tl.store(results + row * 4 + 2, tl.minimum(greatest - second, LOGIT_RANGE))


@triton.jit
def decide_rows(control, products, extra, biases, action, results, action_bias, pending_unit, log_odds_within,
                HIDDEN: tl.constexpr):  # fmt: skip
    """P(EXIT) of each row (decoding/exit_classifier.py), into the last column of `results` (rows, 4). Grid: one program.

    Rows are decided in turn: where one goes on, it pays for work that is pending behind later ones, too, all but its own last layer.

    Args:
        products: (rows, H), the hidden layer's weights times the state. extra: (3, H), of the other features. biases: (exits, H).
        action: (H,), EXIT less CONTINUE.
    """
    unit = tl.arange(0, HIDDEN)
    weights = tl.load(action + unit)
    bias = tl.load(biases + tl.load(control + EXIT) * HIDDEN + unit)
    bound = tl.load(control + BOUND).to(tl.int32).to(tl.float32, bitcast=True)
    paid = tl.zeros((), tl.int64)
    for row in range(tl.load(control + ROWS)):
        pending = tl.load(control + PENDING + row)
        log_odds = tl.load(results + row * 4 + 1)
        log_odds = tl.minimum(tl.maximum(log_odds, -log_odds_within), log_odds_within)
        hidden = tl.load(products + row * HIDDEN + unit) + bias
        hidden += tl.load(extra + unit) * (tl.log(1.0 + (pending - paid).to(tl.float32)) / pending_unit)
        hidden += tl.load(extra + HIDDEN + unit) * log_odds
        hidden += tl.load(extra + 2 * HIDDEN + unit) * tl.load(results + row * 4 + 2)
        score = tl.sum((2.0 / (1.0 + tl.exp(-2.0 * hidden)) - 1.0) * weights, 0) + action_bias
        probability = 1.0 / (1.0 + tl.exp(-score))
        tl.store(results + row * 4 + 3, probability)
        paid = tl.where(probability > bound, paid, pending - 1)
