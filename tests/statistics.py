"""Goodness-of-fit tests that share one failure rate."""

import numpy as np
from scipy import stats

#: Chance that a right implementation fails one check; seeds are fixed, so a check that passes goes on passing.
FAILURE_RATE = 1e-5


def assert_mean(samples, expected, axis=0):
    """z-test: the mean of independent `samples` over `axis` is `expected`, elementwise, Bonferroni-corrected."""
    samples = np.asarray(samples, np.float64)
    count = samples.shape[axis]
    error = samples.std(axis, ddof=1) / np.sqrt(count)
    z = np.abs(samples.mean(axis) - expected) / np.maximum(error, 1e-12)
    limit = stats.norm.isf(FAILURE_RATE / 2 / np.size(z))
    assert np.all(z < limit), f"largest z-score {np.max(z):.2f}, limit {limit:.2f}"


def assert_uniform(samples, bins=256):
    """Chi-square test of equal counts in `bins` equal bins of (0, 1]."""
    counts = np.histogram(samples, bins=bins, range=(0.0, 1.0))[0]
    p_value = stats.chisquare(counts).pvalue
    assert p_value > FAILURE_RATE, f"chi-square p-value {p_value:.2e}"


def assert_uncorrelated(a, b):
    """The correlation of two independent arrays is 0 within its normal error."""
    r = np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]
    limit = stats.norm.isf(FAILURE_RATE / 2) / np.sqrt(np.size(a))
    assert abs(r) < limit, f"correlation {r:.2e}, limit {limit:.2e}"
