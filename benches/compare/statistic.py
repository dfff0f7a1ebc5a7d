"""The statistics that the comparisons print: nearest-rank percentiles, bootstrap intervals, KL divergence. No engine in here."""
import math
import random
import statistics

import numpy as np


def percentile(values, per_cent):
    """Nearest rank: the value number ceil(n * p / 100) in ascending order; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(math.ceil(len(ordered) * per_cent / 100), 1) - 1]


def median_interval(values, resamples=10_000, seed=1, minimum=8):
    """Bootstrap 95 % interval of the median as (low, high); None below `minimum` values, where it would mislead."""
    if len(values) < minimum:
        return None
    rng = random.Random(seed)
    medians = [statistics.median(rng.choices(values, k=len(values))) for _ in range(resamples)]
    return percentile(medians, 2.5), percentile(medians, 97.5)


def geometric_mean(values):
    """The mean of ratios."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def geometric_interval(values, resamples=10_000, seed=1, minimum=8):
    """Bootstrap 95 % interval of the geometric mean as (low, high); None below `minimum` values."""
    if len(values) < minimum:
        return None
    rng = random.Random(seed)
    means = [geometric_mean(rng.choices(values, k=len(values))) for _ in range(resamples)]
    return percentile(means, 2.5), percentile(means, 97.5)


def log_softmax(logits):
    """f64 log-probabilities of one row of logits. Raises on NaN and infinities: those are broken logits, not a distribution."""
    row = logits.astype(np.float64)
    if not np.isfinite(row).all():
        raise ValueError("logits are not finite")
    row -= row.max()
    return row - np.log(np.exp(row).sum())


def kl_divergence(p_logits, q_logits):
    """KL(P || Q) in nats per position, nothing clipped. Both [positions, vocabulary]."""
    if p_logits.shape != q_logits.shape or not p_logits.size:
        raise ValueError(f"shapes {p_logits.shape} and {q_logits.shape} don't compare")
    out = np.empty(len(p_logits))
    for i, (p, q) in enumerate(zip(p_logits, q_logits)):
        log_p, log_q = log_softmax(p), log_softmax(q)
        out[i] = (np.exp(log_p) * (log_p - log_q)).sum()
    return out


def cosine(a, b):
    """Cosine per position of two [positions, vocabulary] arrays, in f64."""
    if a.shape != b.shape or not a.size:
        raise ValueError(f"shapes {a.shape} and {b.shape} don't compare")
    out = np.empty(len(a))
    for i in range(len(a)):
        x, y = a[i].astype(np.float64), b[i].astype(np.float64)
        out[i] = (x @ y) / np.sqrt((x @ x) * (y @ y))
    return out


def leads(logits):
    """By how much the largest logit of each position leads the second."""
    top_two = np.partition(logits, -2, axis=1)[:, -2:]
    return top_two.max(axis=1) - top_two.min(axis=1)


def top_1_disagreements(reference, other, gap):
    """How often `reference`'s largest logit leads by more than `gap`, and where `other` has another token there: (position, lead)."""
    lead = leads(reference)
    wrong = (lead > gap) & (reference.argmax(axis=1) != other.argmax(axis=1))
    return int((lead > gap).sum()), [(int(i), float(lead[i])) for i in np.flatnonzero(wrong)]


def lead_movement(exact, other):
    """What `other` changes of the lead between `exact`'s two largest logits, per position."""
    order = np.argpartition(exact, -2, axis=1)[:, -2:]
    first, second = (np.take_along_axis(logits, order, axis=1).astype(np.float64) for logits in (exact, other))
    return np.abs((second[:, 1] - second[:, 0]) - (first[:, 1] - first[:, 0]))


def rms(values):
    """Root of the mean square, in f64."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
