"""Sequential decision making, against a second writing of it in float64 numpy, and against what theory says of it."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen.noise import BatchNoise
from keras_gen.objectives import ELBO, ReweightedWakeSleep
from keras_gen.sequential import masks as masks_module
from tests.keras_gen import reference

SHAPE = (3, 4, 1)
STEPS, UNITS, LATENT = 2, 3, 2
KEY = [3, -5]
FORMS = [(network, canvas) for network in ("lstm", "feed_forward") for canvas in ("additive", "jump")]


def make(kind, network="feed_forward", canvas="additive", shape=SHAPE, **kwargs):
    """A tiny model whose weights are all far from 0."""
    model = kind(shape, steps=STEPS, units=UNITS, latent_dim=LATENT, network=network, canvas=canvas, seed=0, **kwargs)
    draws = np.random.default_rng(1)
    for weight in model.trainable_variables:
        values = draws.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(values) if weight.name == "bias" else values)  # so that rectified units are not all shut
    return model


def some_images(count=5):
    return reference.some_images(count, SHAPE)


def some_masks(count=5):
    return reference.some_images(count, (*SHAPE[:2], 1), seed=3)


# A second writing, in numpy.


def variables_of(model):
    """All trainable variables by the names that `terms` has for them."""
    generator = model.generator
    parts = {"decoder": generator.decoder, "reader": generator.reader, "encoder": model.encoder}
    layers = {"policy": generator.policy, "writer": generator.writer, "infers": model.infers}
    for name, layer in parts.items():
        if generator.recurrent and layer is not None:
            layers[name] = layer
        elif layer is not None:
            layers |= {f"{name}/first": layer.first, f"{name}/second": layer.second}
    return reference.named_variables(model, layers)


def weights_of(model):
    return reference.as_float64(variables_of(model))


def terms(model, weights, x, normals, mask=None):
    """(log-likelihood `[B]`, KL of each step `[T, B]`) with the draws' standard normals `[B, T, L]`, all in float64."""
    x, rows = x.astype(np.float64), len(x)
    network, canvas_kind = model.get_config()["network"], model.get_config()["canvas"]
    known = np.zeros((rows, *SHAPE[:2], 1)) if mask is None else mask
    looks = mask is not None or network == "feed_forward"
    dense, lstm = partial(reference.dense, weights), partial(reference.lstm, weights)

    def hidden(name, inputs):
        return np.maximum(0, dense(f"{name}/second", np.maximum(0, dense(f"{name}/first", inputs))))

    canvas = np.tile(weights["first_canvas"], (rows, 1, 1, 1))
    if network == "lstm":
        names = ["decoder", "encoder"] + ["reader"] * looks
        states = {name: reference.lstm_start(weights, name, rows) for name in names}
    kl = []
    for step in range(STEPS):
        shown = np.where(known > 0.5, x, reference.sigmoid(canvas))
        seen, both = shown.reshape(rows, -1), np.concatenate([x, x - shown], -1).reshape(rows, -1)
        if network == "lstm":
            h = states["decoder"][0]
            if looks:
                states["reader"] = lstm("reader", np.concatenate([seen, h], -1), states["reader"])
            states["encoder"] = lstm("encoder", np.concatenate([both, h], -1), states["encoder"])
            remembered, guided = states["reader"][0] if looks else h, states["encoder"][0]
        else:
            remembered, guided = hidden("reader", seen), hidden("encoder", both)
        p = np.split(dense("policy", remembered), 2, -1)
        q_loc, q_log = np.split(dense("infers", guided), 2, -1)
        z = q_loc + np.exp(q_log) * normals[:, step]
        kl.append(reference.gaussian_kl(q_loc, q_log, *p))
        if network == "lstm":
            states["decoder"] = lstm("decoder", z, states["decoder"])
            out = states["decoder"][0 if canvas_kind == "additive" else 1]
        else:
            out = hidden("decoder", z)
        written = dense("writer", out).reshape(rows, *SHAPE)
        canvas = canvas + written if canvas_kind == "additive" else written
    return np.sum(reference.bernoulli_log_prob(x, canvas) * (1 - known), (1, 2, 3)), np.stack(kl)


def scored(model, x, mask):
    """What objectives are given, and the normals that they draw with `KEY`, `[B, T, L]`."""
    given = x if mask is None else model.masked(x, mask)
    return given, BatchNoise(KEY, (1, len(x))).normal((STEPS, LATENT)).numpy()[0].astype(np.float64)


@pytest.mark.parametrize("network, canvas", FORMS)
@pytest.mark.parametrize("kind", [kg.SequentialGenerator, kg.SequentialImputer])
def test_the_bound_is_that_of_the_reference(kind, network, canvas):
    model, x = make(kind, network, canvas), some_images()
    mask = some_masks() if kind is kg.SequentialImputer else None
    given, normals = scored(model, x, mask)
    for zeroed in (False, True):
        if zeroed:  # the policy is N(0, I) then
            for weight in model.generator.policy.weights:
                weight.assign(tf.zeros_like(weight))
        log_likelihood, kl = terms(model, weights_of(model), x, normals, mask)
        trace = model.trace(given, 1, KEY)
        np.testing.assert_allclose(trace.log_likelihood[0], log_likelihood, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose([group.kl()[0] for group in trace.groups], kl, rtol=1e-5, atol=1e-5)
        figures = ELBO()(model, given, KEY).figures
        np.testing.assert_allclose(figures["bound"], log_likelihood - kl.sum(0), rtol=1e-5, atol=1e-5)
        assert kl.min() > 1e-3


@pytest.mark.parametrize("network, canvas", FORMS)
@pytest.mark.parametrize("kind", [kg.SequentialGenerator, kg.SequentialImputer])
def test_the_gradient_is_that_of_finite_differences_of_the_reference(kind, network, canvas):
    model, x = make(kind, network, canvas), some_images()
    mask = some_masks() if kind is kg.SequentialImputer else None
    given, normals = scored(model, x, mask)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ELBO()(model, given, KEY).loss)

    def loss_with(weights):
        log_likelihood, kl = terms(model, weights, x, normals, mask)
        return np.sum(kl.sum(0) - log_likelihood)

    reference.assert_gradients(tape.gradient(loss, variables_of(model)), weights_of(model), loss_with)


@pytest.mark.parametrize("kind", [kg.SequentialGenerator, kg.SequentialImputer])
def test_the_closed_form_is_the_expectation_of_log_q_minus_log_p(kind):
    model = make(kind, "lstm")
    given, _ = scored(model, some_images(), some_masks() if kind is kg.SequentialImputer else None)
    trace = model.trace(given, 4000, KEY)
    # Of the two, only the draws' log q - log p has the noise of that step.
    gap = np.stack([(-group.log_ratio - group.kl()).numpy() for group in trace.groups]).astype(np.float64)
    z = gap.mean(1) / (gap.std(1) / np.sqrt(gap.shape[1]))
    assert np.abs(z).max() < 4.5
    total = tf.add_n([group.kl() for group in trace.groups])
    np.testing.assert_allclose(ELBO(4000)(model, given, KEY).figures["kl"], tf.reduce_mean(total, 0), rtol=1e-4)


@pytest.mark.parametrize("network, canvas", FORMS)
def test_what_is_dreamt_is_drawn_from_the_policy(network, canvas):
    """p of the latents that the generator draws, scored by the machine: the same priors, step by step."""
    model = make(kg.SequentialGenerator, network, canvas)
    draws = model.generator.call(BatchNoise(KEY, (6,)))
    normals = BatchNoise(KEY, (6,)).normal((STEPS, LATENT))
    trace = model.dream(6, KEY)
    for step, ((distribution, draw), group) in enumerate(zip(draws, trace.groups, strict=False)):
        np.testing.assert_allclose((draw - distribution.mean()) / distribution.stddev(), normals[:, step], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(group.log_p[0], distribution.log_prob(draw), rtol=1e-5, atol=1e-5)
    distribution, draw = draws[-1]
    np.testing.assert_allclose(trace.log_likelihood[0], distribution.log_prob(draw), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", ["lstm", "feed_forward"])
def test_an_additive_canvas_keeps_what_was_written_and_one_that_jumps_does_not(network):
    seeds = np.array([[7, row] for row in range(4)], np.int32)
    last = {}
    for canvas in ("additive", "jump"):
        model = make(kg.SequentialGenerator, network, canvas)
        film = model.generate_sequence(seeds).numpy()
        assert film.shape == (4, STEPS, *SHAPE)
        np.testing.assert_allclose(film[:, -1], model.generate(seeds)["mean"], atol=1e-6)
        assert np.abs(film[:, 0] - film[:, 1]).max() > 1e-3
        # The policy would see another first canvas in the feed-forward form: these weights let it see nothing.
        model.generator.policy.kernel.assign(tf.zeros_like(model.generator.policy.kernel))
        before = model.generate_sequence(seeds).numpy()
        model.generator.first_canvas.assign_add(tf.ones(SHAPE))
        after = model.generate_sequence(seeds).numpy()
        logit = np.log(after / (1 - after)) - np.log(before / (1 - before))
        last[canvas] = logit
    np.testing.assert_allclose(last["additive"], 1.0, atol=1e-4)
    np.testing.assert_allclose(last["jump"], 0.0, atol=1e-4)


def test_every_objective_that_fits_is_named():
    model = make(kg.SequentialGenerator)
    with pytest.raises(ValueError, match="MuProp .*fit this model: ELBO, IWAE, NVIL, ReweightedWakeSleep, ScoreFunction"):
        model.compile(objective=kg.objectives.MuProp())


@pytest.mark.parametrize("kind", [kg.SequentialGenerator, kg.SequentialImputer])
@pytest.mark.parametrize("name", ["IWAE", "ReweightedWakeSleep", "WakeSleep", "VIMCO", "NVIL", "ScoreFunction"])
def test_objectives_step(kind, name):
    model = make(kind)
    objective = getattr(kg.objectives, name)(**({"baseline": "input"} if name == "ScoreFunction" else {}))
    model.compile(objective=objective)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.step(some_images(), KEY).loss)
    for weight, gradient in tape.gradient(loss, variables_of(model)).items():
        assert np.all(np.isfinite(gradient)) and np.any(gradient != 0), weight


@pytest.mark.parametrize("network", ["lstm", "feed_forward"])
@pytest.mark.parametrize("kind", [kg.SequentialGenerator, kg.SequentialImputer])
def test_of_no_seeds_nothing_is_drawn(kind, network):
    model, none = make(kind, network), np.zeros((0, 2), np.int32)
    assert model.generate_sequence(none).shape == (0, STEPS, *SHAPE)
    draws = [model.generate(none), tf.function(model.generate, autograph=False)(none)]
    if kind is kg.SequentialImputer:
        draws.append(model.impute(np.zeros((0, *SHAPE), np.float32), np.zeros((0, 3, 4, 1)), none))
    for drawn in draws:
        assert drawn["sample"].shape == drawn["mean"].shape == (0, *SHAPE)


# Masks.


def test_pixels_missing_at_random_are_independent():
    masks = masks_module.missing_at_random(BatchNoise(KEY, (4000,)), (4, 5, 3), 0.7).numpy()
    assert masks.shape == (4000, 4, 5, 1) and set(np.unique(masks)) == {0.0, 1.0}
    flat = masks.reshape(4000, -1).astype(np.float64)
    assert np.abs(flat.mean(0) - 0.3).max() < 4.5 * np.sqrt(0.21 / 4000)
    correlation = np.corrcoef(flat.T) - np.eye(20)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4000)


@pytest.mark.parametrize("shape, size, rows, columns", [((9, 12, 1), 4, (1, 3), (1, 6)), ((4, 5, 3), 3, (0, 1), (0, 2))])
def test_a_missing_square_is_at_every_place_equally_often(shape, size, rows, columns):
    masks = masks_module.missing_square(BatchNoise(KEY, (4000,)), shape, size).numpy()[..., 0]
    assert masks.shape == (4000, *shape[:2])
    counts = {}
    for mask in masks:
        where = np.argwhere(mask == 0)
        assert len(where) == size**2 and np.all(where.max(0) - where.min(0) == size - 1)
        place = tuple(where.min(0))
        counts[place] = counts.get(place, 0) + 1
    places = [(top, left) for top in range(rows[0], rows[1] + 1) for left in range(columns[0], columns[1] + 1)]
    assert sorted(counts) == places
    expected = 4000 / len(places)
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < len(places) - 1 + 4.5 * np.sqrt(2 * (len(places) - 1))


def test_masks_are_fresh_at_each_step_and_a_function_of_its_key():
    model, x = make(kg.SequentialImputer, drop_rate=0.4), tf.constant(some_images(50))
    masks = [model.binarize(x, key).numpy()[..., 1:] for key in ([1, 2], [1, 3], [1, 2])]
    np.testing.assert_array_equal(masks[0], masks[2])
    assert 0.3 < np.mean(masks[0] != masks[1]) < 0.7
    assert len({mask.tobytes() for mask in masks[0]}) > 40  # an image has its own
    given = model.masked(x, some_masks(50))
    np.testing.assert_array_equal(model.binarize(given, [1, 2]), given)


def test_observed_pixels_are_not_scored_and_unknown_ones_are_not_seen():
    for network in ("lstm", "feed_forward"):
        model, x, mask = make(kg.SequentialImputer, network), some_images(), some_masks()
        values = np.random.default_rng(5).normal(size=(STEPS, 1, 5, LATENT)).astype(np.float32)
        trace = model.score(model.masked(x, mask), values)
        others = {"observed": np.where(mask == 1, 1 - x, x), "unknown": np.where(mask == 0, 1 - x, x)}
        changed = {name: model.score(model.masked(other, mask), values) for name, other in others.items()}
        # The canvas is a function of the latents alone, so that observed pixels could only enter as what is scored.
        np.testing.assert_array_equal(trace.log_likelihood, changed["observed"].log_likelihood)
        assert np.abs(trace.log_likelihood - changed["unknown"].log_likelihood).min() > 1e-3
        for group, seen, unseen in zip(trace.groups, changed["observed"].groups, changed["unknown"].groups, strict=True):
            np.testing.assert_array_equal(group.log_p, unseen.log_p)
            assert np.abs(group.log_p - seen.log_p).max() > 1e-4
            assert np.abs(group.log_q - unseen.log_q).max() > 1e-4


def test_imputing_keeps_what_is_known_and_each_row_is_a_function_of_its_own_row():
    model = make(kg.SequentialImputer, "lstm", shape=(3, 4, 2))
    draws = np.random.default_rng(6)
    image = draws.random((6, 3, 4, 2)).astype(np.float32)
    mask = some_masks(6)
    seed = draws.integers(-(2**31), 2**31, (6, 2)).astype(np.int32)
    together = {name: value.numpy() for name, value in model.impute(image, mask, seed).items()}
    assert together.keys() == {"sample", "mean"}
    known = np.broadcast_to(mask == 1, image.shape)
    for value in together.values():
        np.testing.assert_array_equal(value[known], image[known])
    assert set(np.unique(together["sample"][~known])) <= {0.0, 1.0}
    assert together["mean"][~known].min() > 0 and together["mean"][~known].max() < 1
    blind = np.where(known, image, 1 - image)  # what stands at unknown pixels is not looked at
    for row in range(6):
        alone = model.impute(blind[row : row + 1], mask[row : row + 1], seed[row : row + 1])
        np.testing.assert_allclose(alone["mean"][0], together["mean"][row], atol=1e-6)
        np.testing.assert_array_equal(alone["sample"][0], together["sample"][row])
    # Known pixels count, and so does the seed.
    other = model.impute(np.where(known, 1 - image, image), mask, seed)["mean"].numpy()
    assert np.abs(other - together["mean"])[~known].max() > 1e-4
    assert np.abs(model.impute(image, mask, seed + 1)["mean"].numpy() - together["mean"]).max() > 1e-4


def test_all_known_comes_back_and_nothing_known_is_generated():
    model, image = make(kg.SequentialImputer), some_images(4)
    seed = np.array([[1, row] for row in range(4)], np.int32)
    np.testing.assert_array_equal(model.impute(image, np.ones((4, 3, 4, 1)), seed)["sample"], image)
    nothing, generated = model.impute(image, np.zeros((4, 3, 4, 1), bool), seed), model.generate(seed)
    for name in ("sample", "mean"):
        np.testing.assert_array_equal(nothing[name], generated[name])
    # In the bound an image that is known whole costs its KL alone.
    estimate = ELBO()(model, model.masked(image, np.ones((4, 3, 4, 1))), KEY)
    np.testing.assert_array_equal(estimate.figures["reconstruction"], 0)
    np.testing.assert_array_equal(estimate.figures["bound"], -estimate.figures["kl"])


@pytest.mark.parametrize("network", ["lstm", "feed_forward"])
def test_dreams_of_an_imputer_keep_what_is_known(network):
    model, image, mask = make(kg.SequentialImputer, network), some_images(), some_masks()
    trace = model.dream_like(model.masked(image, mask), KEY)
    *draws, (_, drawn) = model.generator.call(BatchNoise(KEY, (5,)), {"image": tf.constant(image), "mask": tf.constant(mask)})
    completed = model.masked(np.where(mask == 1, image, drawn), mask)
    expected = model.score(completed, [draw[None] for _, draw in draws])
    np.testing.assert_allclose(trace.log_weight, expected.log_weight, rtol=1e-5, atol=1e-5)
    for (distribution, draw), group in zip(draws, trace.groups, strict=True):
        np.testing.assert_allclose(group.log_p[0], distribution.log_prob(draw), rtol=1e-5, atol=1e-5)
    estimate = ReweightedWakeSleep(2)(model, model.masked(image, mask), KEY)
    assert np.all(np.isfinite(estimate.loss))


def test_own_masks_are_used_in_training():
    model, image = make(kg.SequentialImputer), some_images(8)
    model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    history = model.fit(image, np.ones((8, 3, 4, 1)), validation_data=(image, np.zeros((8, 3, 4, 1))), verbose=0).history
    assert history["reconstruction"] == [0.0] and history["val_reconstruction"][0] < -1
    with pytest.raises(ValueError, match=r"masks of \S+ holds 0.5; allowed are 1 \(observed\)"):
        model.fit(image, np.full((8, 3, 4, 1), 0.5), verbose=0)


def test_the_score_is_the_bound_divided_by_the_share_of_missing_pixels():
    model, image = make(kg.SequentialImputer, drop_rate=0.75), some_images(7)
    mask = some_masks(7)
    score = kg.evaluation.imputation_score(model, image, mask, num_samples=200, batch_size=3)
    trace = model.trace(model.masked(image, mask), 2000, KEY)
    expected = -np.mean(trace.log_likelihood, 0) + sum(np.mean(group.kl(), 0) for group in trace.groups)
    np.testing.assert_allclose(score.per_image, expected, rtol=0.03)
    assert score.masked_fraction == pytest.approx(np.mean(mask == 0))
    assert score.normalized == pytest.approx(np.mean(score.per_image) / np.mean(mask == 0))
    assert score.reconstruction + score.kl == pytest.approx(np.mean(score.per_image))
    drawn = kg.evaluation.imputation_score(model, image, num_samples=2)
    assert drawn.masked_fraction == 0.75 and drawn.masks.startswith("MCAR-75")
    assert make(kg.SequentialImputer, mask="mar", square_size=2).masked_fraction == pytest.approx(4 / 12)
    with pytest.raises(ValueError, match="nothing to impute"):
        kg.evaluation.imputation_score(model, image, np.ones((7, 3, 4, 1)))


def test_cross_entropy_scores_grey_pixels_as_they_are():
    model = make(kg.SequentialImputer, likelihood="cross_entropy")
    grey = np.random.default_rng(7).random((5, *SHAPE)).astype(np.float32)
    mask = some_masks()
    given, normals = scored(model, grey, mask)
    log_likelihood, _ = terms(model, weights_of(model), grey, normals, mask)
    np.testing.assert_allclose(model.trace(model.binarize(given, KEY), 1, KEY).log_likelihood[0], log_likelihood, rtol=1e-5)
    drawn = model.generate([[1, 2]])
    np.testing.assert_array_equal(drawn["sample"], drawn["mean"])
    for kind in (kg.VAE, kg.SequentialGenerator):  # no figure of theirs would be a likelihood
        with pytest.raises(ValueError, match="likelihood='cross_entropy'"):
            kind(SHAPE, likelihood="cross_entropy")


# Bad input.


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"steps": 0}, "steps=0: .*without a step nothing is drawn"),
        ({"units": 2.5}, "units=2.5"),
        ({"latent_dim": -1}, "latent_dim=-1"),
        ({"network": "transformer"}, "network='transformer': one of 'lstm', 'feed_forward'"),
        ({"canvas": "blank"}, "canvas='blank': one of 'additive', 'jump'"),
        ({"likelihood": "poisson"}, "likelihood='poisson'"),
        ({"mask": "random"}, "mask='random': one of 'mcar', 'mar'"),
        ({"drop_rate": 0.0}, "drop_rate=0.0"),
        ({"drop_rate": 1.0}, "drop_rate=1.0"),
        ({"square_size": 4}, "square_size=4: the square must fit"),
        ({"square_size": 0}, "square_size=0"),
    ],
)
def test_settings_that_cannot_be(arguments, message):
    kinds = [kg.SequentialImputer] + [kg.SequentialGenerator] * (not arguments.keys() & {"mask", "drop_rate", "square_size"})
    for kind in kinds:
        with pytest.raises(ValueError, match=message):
            kind(SHAPE, **arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mask": np.ones((2, 3, 4), np.float32)}, r"mask has shape \(2, 3, 4\); it must be \(2, 3, 4, 1\)"),
        ({"mask": np.ones((3, 3, 4, 1), np.float32)}, r"mask has shape \(3, 3, 4, 1\)"),
        ({"mask": np.full((2, 3, 4, 1), 0.3)}, "mask holds 0.3; allowed are 1"),
        ({"mask": np.full((2, 3, 4, 1), np.nan)}, "mask holds nan"),
        ({"image": np.ones((2, 4, 3, 1), np.float32)}, r"data_shape=\(3, 4, 1\)"),
        ({"image": np.full((2, 3, 4, 1), 2, np.float32)}, "from 2 to 2"),
        ({"image": np.full((2, 3, 4, 1), np.nan, np.float32)}, "NaN"),
        ({"image": np.ones((2, 3, 4, 1), np.uint8)}, "uint8"),
        ({"seed": [[1, 2]]}, "2 images and 1 rows of seed"),
        ({"seed": [[0.5, 1.0]]}, "float64"),
    ],
)
def test_what_cannot_be_imputed(change, message):
    model = make(kg.SequentialImputer)
    mask = np.tile(np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1), (2, 3, 2, 1))
    given = {"image": some_images(2), "mask": mask, "seed": [[1, 2], [3, 4]], **change}
    with pytest.raises(ValueError, match=message):
        model.impute(**given)
