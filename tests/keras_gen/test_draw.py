"""DRAW against a second writing of its formulas in float64 numpy, and its policy against enumeration of all that it may do."""

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import keras_gen as kg
from keras_gen import objectives
from keras_gen.noise import BatchNoise, CounterNoise
from keras_gen.objectives.objective import fitting
from keras_gen.sequential import attention as windows
from keras_gen.sequential import machine
from tests.keras_gen import reference
from tests.keras_gen.gradients import with_large_weights

KEY = [3, -5]
#: Sides and windows that differ wherever they may.
FORMS = {
    "whole": ((3, 4, 1), {}),
    "whole_colour": ((3, 2, 3), {}),
    "soft": ((4, 6, 1), {"attention": "soft", "read_size": 3, "write_size": 2}),
    "soft_colour": ((5, 4, 3), {"attention": "soft", "read_size": 2, "write_size": 3}),
    "hard": ((4, 5, 1), {"attention": "hard", "read_size": 3, "write_size": 2}),
    "hard_colour": ((3, 4, 3), {"attention": "hard", "read_size": 1, "write_size": 2}),
}


def make(form, **kwargs):
    """A tiny DRAW whose weights are all far from 0."""
    shape, attention = FORMS[form]
    settings = {"steps": 3, "units": 3, "latent_dim": 2, "seed": 0, **attention, **kwargs}
    return with_large_weights(kg.DRAW(shape, **settings), 0.5)


def variables_of(model):
    """All trainable variables by the names that `passed` has for them."""
    generator = model.generator
    layers = {"encoder": model.encoder, "decoder": generator.decoder, "infers": model.infers, "writer": generator.writer}
    windows = {"read_window": model.read_window, "write_window": generator.write_window}
    return reference.named_variables(model, layers | {name: each for name, each in windows.items() if each is not None})


def passed(model, weights, x, normals, uniforms=None, places=None, dreaming=False):
    """A pass over each of R images by the formulas of Gregor et al. 2015, all in float64.

    Args:
        weights: by the names of `variables_of`.
        x: `[R, H, W, C]`.
        normals: `[R, T, L]`.
        uniforms: "read" and "write" to `[R, T, 2]`, which draw the places of hard windows.
        places: the same, int: (top, left) themselves.
        dreaming: whether z is drawn from p, and not from q.

    Returns:
        dict: `log_likelihood` `[R]`; `log_p`, `log_q`, `kl`, `log_pi_read`, `log_pi_write` `[T, R]`; `film` `[T, R, H, W, C]`.
    """
    settings, (height, width, channels) = model.get_config(), model.data_shape
    attention, rows, x = settings["attention"], len(x), x.astype(np.float64)
    every, found = np.arange(rows), collections.defaultdict(list)

    def dense(name, inputs):
        return reference.dense(weights, name, inputs)

    def filters(name, h):
        """F_Y `[R, N, H]`, F_X `[R, N, W]` and the intensity."""
        raw = dense(f"{name}_window", h)
        banks = [reference.published_filters(each, (height, width), settings[f"{name}_size"]) for each in raw]
        return *map(np.stack, zip(*banks, strict=True)), np.exp(raw[:, 4]).reshape(-1, 1, 1, 1)

    def pixels(name, h, step):
        """Which pixels a hard window has: an index of `[R, N, N]`."""
        size, log_pi, index = settings[f"{name}_size"], 0.0, []
        for axis, logits in enumerate(np.split(dense(f"{name}_window", h), [height - size + 1], -1)):
            log_each = special.log_softmax(logits, -1)
            if places is None:
                at = np.sum(uniforms[name][:, step, axis, None] > np.cumsum(np.exp(log_each), -1)[:, :-1], -1)
            else:
                at = places[name][:, step, axis]
            log_pi += log_each[every, at]
            index.append(at[:, None] + np.arange(size))
        found[f"log_pi_{name}"].append(log_pi)
        return every[:, None, None], index[0][:, :, None], index[1][:, None, :]

    canvas = np.tile(weights["first_canvas"], (rows, 1, 1, 1))
    encoder, decoder = (reference.lstm_start(weights, name, rows) for name in ("encoder", "decoder"))
    for step in range(settings["steps"]):
        seen = np.concatenate([x, x - reference.sigmoid(canvas)], -1)
        if attention == "soft":
            by_row, by_column, intensity = filters("read", decoder[0])
            # Each row of the patch has its channels one after the other.
            seen = intensity * np.einsum("rih,rhwc,rjw->ricj", by_row, seen, by_column)
        elif attention == "hard":
            seen = seen[pixels("read", decoder[0], step)]
        encoder = reference.lstm(weights, "encoder", np.concatenate([seen.reshape(rows, -1), decoder[0]], -1), encoder)
        loc, log_scale = np.split(dense("infers", encoder[0]), 2, -1)
        z = normals[:, step] if dreaming else loc + np.exp(log_scale) * normals[:, step]
        found["log_p"].append(stats.norm.logpdf(z).sum(-1))
        found["log_q"].append(stats.norm.logpdf(z, loc, np.exp(log_scale)).sum(-1))
        found["kl"].append(reference.gaussian_kl(loc, log_scale))
        decoder = reference.lstm(weights, "decoder", z, decoder)
        written = dense("writer", decoder[0])
        if attention is None:
            canvas = canvas + written.reshape(canvas.shape)
        elif attention == "soft":
            by_row, by_column, intensity = filters("write", decoder[0])
            patch = written.reshape(rows, settings["write_size"], settings["write_size"], channels)
            canvas = canvas + np.einsum("rih,rijc,rjw->rhwc", by_row, patch, by_column) / intensity
        else:
            canvas, window = canvas.copy(), pixels("write", decoder[0], step)
            canvas[window] += written.reshape(canvas[window].shape)
        found["film"].append(reference.sigmoid(canvas))
    log_likelihood = np.sum(reference.bernoulli_log_prob(x, canvas), (1, 2, 3))
    return {"log_likelihood": log_likelihood, **{name: np.stack(values) for name, values in found.items()}}


def noise_of(model, noise, count):
    """(normals, uniforms) of `passed`, as `noise` gives them to a pass that draws `count` uniforms a step."""
    normals = noise.normal((model.generator.steps, model.generator.latent_dim)).numpy()
    normals = normals.reshape(-1, *normals.shape[-2:]).astype(np.float64)
    if not count:
        return normals, None
    uniforms = noise.uniform((model.generator.steps, count)).numpy().reshape(*normals.shape[:2], count)
    return normals, {"read": uniforms[..., :-2], "write": uniforms[..., -2:]}


def scored(model, images, samples):
    """K passes over images: what `passed` is given of them, samples first."""
    noise = BatchNoise(KEY, (samples, len(images)))
    count = model.infer_uniforms + model.generator.uniforms
    return np.tile(images, (samples, 1, 1, 1)), *noise_of(model, noise, count)


@pytest.mark.parametrize("form", FORMS)
def test_a_trace_is_that_of_the_published_formulas(form):
    model, samples = make(form), 2
    images = reference.some_images(4, model.data_shape)
    trace = model.trace(images, samples, KEY)
    exact = passed(model, reference.as_float64(variables_of(model)), *scored(model, images, samples))

    def assert_are(found, wanted):
        np.testing.assert_allclose(np.reshape(found, np.shape(wanted)), wanted, rtol=2e-5, atol=2e-5)

    for name in ("log_p", "log_q"):
        assert_are([getattr(group, name) for group in trace.groups], exact[name])
    assert_are([group.kl() for group in trace.groups], exact["kl"])
    assert_are(trace.log_likelihood, exact["log_likelihood"])
    assert_are(trace.log_weight, exact["log_likelihood"] + exact["log_p"].sum(0) - exact["log_q"].sum(0))
    bound = exact["log_likelihood"] - exact["kl"].sum(0)
    assert_are(objectives.ELBO(samples)(model, images, KEY).figures["bound"], bound.reshape(samples, -1).mean(0))
    assert exact["kl"].min() > 1e-3

    assert len(trace.actions) == (2 if model.attention == "hard" else 0)
    # What was read at a step is in its KL already; what was written is in later ones.
    for action, name, first in zip(trace.actions, ("read", "write"), (0, 1), strict=False):
        assert_are(action.log_pi, exact[f"log_pi_{name}"])
        costs = [exact["kl"][step + first :].sum(0) for step in range(3)]
        assert_are(action.signal, exact["log_likelihood"] - costs)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_generated_is_the_decoder_alone(form):
    model, seed = make(form), np.array([[7, row] for row in range(4)], np.int32)
    normals, uniforms = noise_of(model, CounterNoise(seed), model.generator.uniforms)
    uniforms = uniforms and {**uniforms, "read": np.zeros_like(uniforms["write"])}  # nothing is read
    weights = reference.as_float64(variables_of(model))
    film = passed(model, weights, np.zeros((4, *model.data_shape)), normals, uniforms, dreaming=True)["film"]
    np.testing.assert_allclose(model.generate_sequence(seed), np.swapaxes(film, 0, 1), atol=1e-5)
    np.testing.assert_allclose(model.generate(seed)["mean"], film[-1], atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_finite_differences_of_the_published_formulas(form):
    """At fixed noise, that of places included: they do not move, so that what chooses them has no part in it."""
    model, samples = make(form), 2
    images = reference.some_images(3, model.data_shape)
    given, variables = scored(model, images, samples), variables_of(model)

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(objectives.ELBO(samples)(model, tf.constant(images), tf.constant(KEY)).loss)
        return tape.gradient(loss, {name: each.value for name, each in variables.items()}, unconnected_gradients="zero")

    if "colour" not in form:  # once of each kind as in training, by a loop of the graph
        gradients = tf.function(gradients, autograph=False)

    def loss_with(weights):
        exact = passed(model, weights, *given)
        return np.sum(exact["kl"].sum(0) - exact["log_likelihood"]) / samples

    reference.assert_gradients(gradients(), reference.as_float64(variables), loss_with)


# The policy of hard windows.


class Given:
    """Noise that is given: `normals` `[*batch_shape, T, 1]`, and as uniforms the places of windows themselves."""

    def __init__(self, batch_shape, normals, places):
        self.batch_shape, self._normals, self._places = batch_shape, normals, places

    def normal(self, event_shape):
        return tf.constant(self._normals, tf.float32)

    def uniform(self, event_shape):
        return tf.constant(np.concatenate([self._places["read"], self._places["write"]], -1), tf.float32)


def every_pass(model):
    """All that a model of one latent a step may draw where normals are 1 or -1: `[S, T, 1]`, and places for `passed`.

    Of such normals mean and variance are as before, so that the mean of log q - log p is still the KL in closed form.
    """
    step = itertools.product((-1.0, 1.0), *map(range, (*model.places, *model.generator.places)))
    passes = np.array(list(itertools.product(step, repeat=model.generator.steps)))
    return passes[..., :1], {"read": passes[..., 1:3].astype(int), "write": passes[..., 3:].astype(int)}


@pytest.mark.parametrize(
    "objective, steps",
    [
        (objectives.ScoreFunction(baseline=None), 2),
        (objectives.ScoreFunction(baseline="input", hidden_units=4), 2),
        (objectives.NVIL(normalize=False, hidden_units=4), 2),
        (objectives.VIMCO(2), 1),
    ],
    ids=["score_function", "score_function-input", "nvil", "vimco"],
)
def test_the_mean_gradient_is_that_of_the_expected_bound(monkeypatch, objective, steps):
    """Exactly: of K passes each combination is a row of one batch, weighted by its probability."""
    settings = {"attention": "hard", "read_size": 1, "write_size": 2, "units": 2, "latent_dim": 1, "seed": 0}
    model = with_large_weights(kg.DRAW((2, 3, 1), steps=steps, **settings), 1.0)
    model.compile(objective=objective)
    random = np.random.default_rng(5)
    for weight in model.companion.weights if model.companion else ():  # unbiased whatever it has learned
        weight.assign(random.normal(size=weight.shape))
    image = np.array([1, 0, 0, 1, 1, 0], np.float32).reshape(1, 2, 3, 1)
    normals, places = every_pass(model)
    samples, count = objective.num_samples, len(normals)
    drawn = np.array(list(itertools.product(range(count), repeat=samples))).T  # [K, B]: which pass it is

    def weighed(weights):
        """The probability `[B]` of each row, and the log weights `[K, B]`."""
        exact = passed(model, weights, np.repeat(image, count, 0), normals, places=places)
        probability = np.exp(exact["log_pi_read"].sum(0) + exact["log_pi_write"].sum(0)) / 2**steps
        assert probability.sum() == pytest.approx(1.0)
        log_weight = exact["log_likelihood"] + exact["log_p"].sum(0) - exact["log_q"].sum(0)
        return probability[drawn].prod(0), log_weight[drawn]

    def expected_loss(weights):
        probability, log_weight = weighed(weights)
        return -np.sum(probability * (special.logsumexp(log_weight, 0) - np.log(samples)))

    variables = variables_of(model)
    weights = reference.as_float64(variables)
    given = normals[drawn], {name: each[drawn] for name, each in places.items()}
    monkeypatch.setattr(machine, "BatchNoise", lambda seed, batch_shape: Given(batch_shape, *given))
    monkeypatch.setattr(
        windows, "choose_position", lambda logits, counts, place: tuple(tf.unstack(tf.cast(place, tf.int32), axis=-1))
    )
    with tf.GradientTape() as tape:
        losses = objective(model, np.repeat(image, drawn.shape[1], 0), KEY).loss
        loss = tf.reduce_sum(losses * weighed(weights)[0].astype(np.float32))
    reference.assert_gradients(tape.gradient(loss, variables), weights, expected_loss)


# Objectives and settings.

FITTING = {
    "whole": ["ELBO", "IWAE", "NVIL", "ReweightedWakeSleep", "ScoreFunction", "VIMCO", "WakeSleep"],
    "soft": ["ELBO", "IWAE", "NVIL", "ReweightedWakeSleep", "ScoreFunction", "VIMCO", "WakeSleep"],
    "hard": ["NVIL", "ScoreFunction", "VIMCO"],
}


@pytest.mark.parametrize("form, name", [(form, name) for form, names in FITTING.items() for name in names])
def test_every_objective_that_fits_steps(form, name):
    model = make(form, steps=2)
    assert fitting(model) == FITTING[form]
    # Eagerly: to trace these programs takes minutes. One of them, with a dream in it, is traced all the same.
    model.compile(objective=getattr(objectives, name)(), jit_compile=False, run_eagerly=(form, name) != ("whole", "WakeSleep"))
    before = reference.as_float64(variables_of(model))
    assert np.isfinite(model.fit(reference.some_images(8, model.data_shape), batch_size=8, verbose=0).history["loss"]).all()
    after = reference.as_float64(variables_of(model))
    assert all(np.isfinite(after[name]).all() and np.any(after[name] != before[name]) for name in before)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"steps": 0}, "steps=0: an integer of at least 1 is needed; without a step nothing is drawn"),
        ({"units": 2.5}, "units=2.5: an integer"),
        ({"latent_dim": 0}, "latent_dim=0: an integer of at least 1"),
        ({"attention": "spatial"}, "attention='spatial': one of None, 'soft', 'hard'"),
        ({"attention": "soft", "read_size": 5}, "read_size=5: the window must fit into the image, .* shorter side has 4"),
        ({"attention": "hard", "read_size": 5}, "read_size=5: the window must fit into the image, .* shorter side has 4"),
        ({"attention": "soft", "write_size": 5}, "write_size=5: the window must fit"),
        ({"attention": "hard", "write_size": 5}, "write_size=5: the window must fit"),
        ({"attention": "soft", "read_size": 1}, "read_size=1: soft attention needs at least 2 points .* divides by N - 1"),
        ({"attention": "soft", "write_size": 1}, "write_size=1: soft attention needs at least 2 points .* divides by N - 1"),
        ({"attention": "soft", "data_shape": (1, 9, 1)}, "read_size=1: soft attention needs at least 2 points"),
        ({"attention": "hard", "write_size": 0}, "write_size=0: a window has a positive integer number of points"),
        ({"attention": "hard", "read_size": 2.0}, "read_size=2.0: a window has a positive integer number of points"),
        ({"random_windows": True}, 'random_windows=True with attention=None: only windows of attention="hard" are drawn'),
        ({"random_windows": True, "attention": "soft"}, "random_windows=True with attention='soft': only"),
        ({"likelihood": "poisson"}, "likelihood='poisson': one of 'bernoulli'"),
    ],
)
def test_settings_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        kg.DRAW(**{"data_shape": (4, 6, 1), "steps": 2, "units": 3, "latent_dim": 2, **arguments})


def test_sizes_of_windows_may_be_numpys_integers():
    for attention in ("soft", "hard"):
        sizes = {"read_size": np.int64(2), "write_size": np.int32(3)}
        made = kg.DRAW((4, 6, 1), steps=2, units=3, latent_dim=2, attention=attention, **sizes)
        config = made.get_config()
        assert (config["read_size"], config["write_size"]) == (2, 3) and made.sample(1).shape == (1, 4, 6, 1)


@pytest.mark.parametrize("make", [
    lambda: kg.VAE((4, 6, 1), latent_dim=2, hidden_units=()),
    lambda: kg.DRAW((4, 6, 1), steps=2, units=3, latent_dim=2),
    lambda: kg.StructuredPredictor((4, 6, 1), units=(2,)),
])  # fmt: skip
def test_latents_are_taken_in_ways_that_there_are(make):
    with pytest.raises(ValueError, match="draws='fixd': one of 'pathwise', 'fixed', 'choices', 'means'"):
        make().trace(np.zeros((2, 4, 6, 1), np.float32), 1, [0, 0], draws="fixd")


@pytest.mark.parametrize(
    "objective, message",
    [
        (objectives.ELBO(), "ELBO differentiates .* WindowPosition"),
        (objectives.IWAE(5), "IWAE differentiates .* WindowPosition"),
        (objectives.MuProp(), "MuProp compares draws with a pass of means"),
        (objectives.WakeSleep(), "WakeSleep trains a recognition network beside the generator, and this model has none"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_objectives_that_do_not_fit_hard_windows(objective, message):
    with pytest.raises(ValueError, match=f"{message}.*Objectives that fit this model: NVIL, ScoreFunction, VIMCO"):
        make("hard").compile(objective=objective)
    assert isinstance(make("hard").default_objective(), objectives.NVIL)
    assert isinstance(make("soft").default_objective(), objectives.ELBO)


@pytest.mark.parametrize("random_windows", [False, True])
def test_given_latents_say_nothing_of_hard_windows(random_windows):
    model = make("hard", random_windows=random_windows)
    images = reference.some_images(4, model.data_shape)
    for call in (lambda: model.score(images, np.zeros((3, 1, 4, 2), np.float32)), lambda: model.dream(4, KEY)):
        with pytest.raises(ValueError, match="DRAW with hard windows scores no given latents .* `trace` draws and scores both"):
            call()


@pytest.mark.parametrize("form", ["whole", "soft"])
def test_a_dream_is_scored_on_the_canvas_that_it_left(form):
    model = make(form)
    draws, trace = model.generator.call(BatchNoise(KEY, (4,))), model.dream(4, KEY)
    likelihood, image = draws[-1]
    np.testing.assert_allclose(trace.log_likelihood[0], likelihood.log_prob(image), rtol=1e-5, atol=1e-5)
    for (distribution, z), group in zip(draws, trace.groups, strict=False):
        np.testing.assert_allclose(group.log_p[0], distribution.log_prob(z), rtol=1e-5, atol=1e-5)
