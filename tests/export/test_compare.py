"""The rule for when two runs agree, against draws made by hand."""

import numpy as np
import pytest

from export import noise
from export.compare import SampleKind, compare

SHAPE = (6, 6, 1)


@pytest.fixture
def binary(seeds):
    """A binary draw whose threshold noise is stream 2, and one pixel moved to within 1e-6 of its threshold."""
    uniforms = noise.uniforms(seeds, 2, 36).reshape(-1, *SHAPE)
    mean = np.random.default_rng(0).uniform(0.1, 0.9, uniforms.shape).astype(np.float32)
    mean[3, 0, 0, 0] = uniforms[3, 0, 0, 0] + np.float32(1e-6)
    return {"sample": (uniforms < mean).astype(np.float32), "mean": mean}


def test_kinds(seeds, binary):
    assert SampleKind.of_draws(seeds, binary) == SampleKind("binary", 1.0, 2)
    assert SampleKind.of_draws(seeds, {"sample": binary["sample"]}) == SampleKind("binary", 1.0, None)
    assert SampleKind.of_draws(seeds, {"sample": binary["mean"]}).values == "continuous"
    grey = np.round(binary["mean"] * 255).astype(np.float32) / np.float32(255)
    kind = SampleKind.of_draws(seeds, {"sample": grey, "mean": binary["mean"]})
    assert kind.values == "levels" and kind.step == pytest.approx(1 / 255, rel=1e-4)
    # Of so many levels that draws do not show the step, the model says how many there are.
    assert SampleKind.of_draws(seeds, {"sample": binary["mean"]}, levels=65536) == SampleKind("levels", 1 / 65535)
    assert SampleKind.of_draws(seeds, binary, levels=2) == SampleKind("binary", 1.0, 2)


def flipped(binary, pixel):
    sample = binary["sample"].copy()
    sample[pixel] = 1 - sample[pixel]
    return {**binary, "sample": sample}


def test_a_binary_pixel_may_flip_at_its_threshold_only(seeds, binary):
    kind = SampleKind.of_draws(seeds, binary)
    sample, mean = compare(seeds, binary, flipped(binary, (3, 0, 0, 0)), kind)
    assert sample.ok and mean.ok and (sample.differing, sample.unexplained) == (1, 0)
    sample, _ = compare(seeds, binary, flipped(binary, (4, 0, 0, 0)), kind)
    assert not sample.ok and (sample.differing, sample.unexplained, sample.rows) == (1, 1, 1)
    no_stream = SampleKind("binary", 1.0, None)
    assert not compare(seeds, binary, flipped(binary, (3, 0, 0, 0)), no_stream)[0].ok


def test_grey_levels_may_differ_by_one_and_seldom(seeds, binary):
    step = 1 / 255
    grey = {"sample": (np.round(binary["mean"] * 255) / 255).astype(np.float32)}
    kind = SampleKind.of_draws(seeds, grey)
    allowance = int(np.ceil(grey["sample"].size * 2e-5 / step))

    def moved(count, levels):
        sample = grey["sample"].copy()
        sample.reshape(-1)[:count] += np.float32(levels * step)
        return compare(seeds, grey, {"sample": sample}, kind)[0]

    assert moved(allowance, 1).ok
    assert not moved(allowance + 1, 1).ok
    assert not moved(1, 2).ok


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_means_that_differ(seeds, binary, value):
    mean = binary["mean"].copy()
    mean[7, 1, 1, 0] = value
    found = compare(seeds, binary, {**binary, "mean": mean}, SampleKind("binary", 1.0, 2))[1]
    assert not found.ok and found.rows == 1 and (found.largest == np.inf or value == 0.5)


def test_nan_samples_and_other_shapes(seeds, binary):
    kind = SampleKind("binary", 1.0, 2)
    assert not compare(seeds, binary, {**binary, "sample": binary["sample"] * np.nan}, kind)[0].ok
    assert not compare(seeds, binary, {"sample": binary["sample"]}, kind)[1].ok
    assert not compare(seeds, binary, {**binary, "mean": binary["mean"][:5]}, kind)[1].ok
