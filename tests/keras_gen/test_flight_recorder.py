"""The flight recorder: what it reports, what it says goes wrong, and that it goes back from a NaN."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_gen as kg
from training import data

SHAPE = (8, 8, 1)


def grey(count=32, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE)).astype(np.float32)


def small_gan(**kwargs):
    return kg.GAN(SHAPE, **{"latent_dim": 4, "hidden_units": (16,), "critic_units": (12,), "pieces": 3, "seed": 1, **kwargs})


def test_the_recorder_reports_both_sides(tmp_path):
    model = small_gan()
    model.compile(jit_compile=False)
    recorder = kg.callbacks.FlightRecorder(grey(40, seed=5), log_dir=tmp_path / "board")
    history = model.fit(grey(64), batch_size=16, epochs=2, callbacks=[recorder], verbose=0).history
    for name in ("held_out_real_accuracy", "fresh_fake_accuracy", "jensen_shannon", "diversity", "gradient_norm_critic"):
        assert len(history[name]) == 2 and np.isfinite(history[name]).all()
    assert 0 < history["diversity"][-1] < 2 and history["gradient_norm_generator"][-1] > 0
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    shown = set(events.Tags()["tensors"])
    assert shown >= {"jensen_shannon", "diversity", "collapsed", "logits of data", "logits of drawn images", "samples"}
    assert [event.step for event in events.Tensors("jensen_shannon")] == [1, 2]
    value = tf.make_ndarray(events.Tensors("jensen_shannon")[-1].tensor_proto)
    assert float(value) == pytest.approx(history["jensen_shannon"][-1], rel=1e-5)


class Spoil(keras.callbacks.Callback):
    """Makes a weight NaN at the end of some epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch in self.epochs:
            weight = self.model.critic.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.nan, np.float32))


def test_the_recorder_goes_back_from_a_nan_and_stops_where_it_cannot():
    model = small_gan()
    model.compile(jit_compile=False)
    recorder = kg.callbacks.FlightRecorder(grey(40, seed=5), rewinds=1)
    with pytest.warns(kg.callbacks.GameWarning, match="back to the last good epoch"):
        history = model.fit(grey(64), batch_size=16, epochs=4, callbacks=[Spoil({2}), recorder], verbose=0).history
    assert len(history["loss"]) == 4 and np.isfinite(history["loss"]).all()
    assert all(np.isfinite(w.numpy()).all() for w in model.trainable_variables)
    assert history["rewinds"] == [0.0, 0.0, 1.0, 1.0] and history["loss"][2] == history["loss"][1]
    model = small_gan()
    model.compile(jit_compile=False)
    with pytest.warns(kg.callbacks.GameWarning, match="training stops"):
        history = model.fit(
            grey(64), batch_size=16, epochs=6, verbose=0,
            callbacks=[Spoil({1, 2, 3}), kg.callbacks.FlightRecorder(grey(40, seed=5), rewinds=1)],
        ).history
    assert len(history["loss"]) == 3
    assert all(np.isfinite(w.numpy()).all() for w in model.trainable_variables)


def test_a_training_that_is_continued_goes_back_as_one_that_was_not_interrupted(tmp_path):
    def train(model, epochs, done=0, before=()):
        callbacks = [Spoil({0, 2}), kg.callbacks.FlightRecorder(grey(40, seed=5), rewinds=2, before=before)]
        options = {"batch_size": 16, "callbacks": callbacks, "verbose": 0}
        with pytest.warns(kg.callbacks.GameWarning, match="back to the last good epoch"):
            history = model.fit(grey(64), epochs=epochs, initial_epoch=done, **options).history
        return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]

    straight, stopped = small_gan(), small_gan()
    stopped.set_weights(straight.get_weights())
    for model in (straight, stopped):
        model.compile(jit_compile=False)
    wanted = train(straight, 3)
    before = train(stopped, 2)
    stopped.save(tmp_path / "model.keras")
    stopped = keras.saving.load_model(tmp_path / "model.keras")
    assert train(stopped, 3, 2, before) == wanted[2:] and wanted[2]["rewinds"] == 2.0
    for got, value in zip(stopped.variables, straight.variables, strict=True):
        np.testing.assert_array_equal(got.numpy(), value.numpy(), err_msg=got.path)
    # It has gone back as often as it may.
    with pytest.warns(kg.callbacks.GameWarning, match="after going back 2 times: training stops"):
        recorder = kg.callbacks.FlightRecorder(grey(40, seed=5), rewinds=2, before=wanted)
        stopped.fit(grey(64), batch_size=16, epochs=5, initial_epoch=3, callbacks=[Spoil({3}), recorder], verbose=0)


def test_findings_of_a_training_that_is_continued_are_counted_on():
    model = small_gan()
    for weight in model.generator.trainable_variables[:1]:
        weight.assign(tf.zeros_like(weight))  # it draws one image
    model.compile(keras.optimizers.Adam(0.0), jit_compile=False)

    def said_after(rows):
        recorder = kg.callbacks.FlightRecorder(grey(64), before=rows)
        recorder.set_model(model)
        recorder.on_train_begin()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            recorder.on_epoch_end(len(rows), {})
        return any("nearly all alike" in str(warning.message) for warning in said)

    found, not_found = {"collapsed": 1.0}, {"collapsed": 0.0}
    assert said_after([not_found, found, found]) and not said_after([found, not_found, found])
    assert not said_after([found] * 3)  # it was said when that was found


class State(keras.callbacks.Callback):
    """Keeps all that a model is, at the beginning or at the end of each epoch, but for the count of its steps."""

    def __init__(self, at):
        super().__init__()
        self.at, self.kept = at, []

    def on_epoch_begin(self, epoch, logs=None):
        if self.at == "begin":
            self.keep()

    def on_epoch_end(self, epoch, logs=None):
        if self.at == "end":
            self.keep()

    def keep(self):
        optimizers = [variable for optimizer, _ in self.model.players() for variable in optimizer.variables]
        weights = [weight for weight in self.model.weights if weight is not self.model._noise_state]
        self.kept.append([(variable.path, variable.numpy()) for variable in [*weights, *optimizers]])


def rows_by_epoch(weights, batches):
    """An epoch after the other of images with weights, each epoch's its own."""

    def each():
        for weight in weights:
            for batch in np.split(grey(16 * batches), batches):
                yield batch, np.zeros(16, np.int32), np.full(16, weight, np.float32)

    parts = tf.TensorSpec((16, *SHAPE)), tf.TensorSpec(16, tf.int32), tf.TensorSpec(16)
    return tf.data.Dataset.from_generator(each, output_signature=parts)


def test_after_a_nan_all_is_as_it_was_before():
    nan = float("nan")
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(4, 8), seed=1)
    model.compile(objective=kg.Game(average=0.9), jit_compile=False)
    before, after = State("begin"), State("end")
    recorder = kg.callbacks.FlightRecorder(grey(40, seed=5))
    feed = rows_by_epoch([1.0, nan, nan, 1.0], batches=2)
    with pytest.warns(kg.callbacks.GameWarning, match="back to the last good epoch"):
        history = model.fit(feed, epochs=4, steps_per_epoch=2, callbacks=[before, recorder, after], verbose=0).history
    assert history["rewinds"] == [0.0, 1.0, 2.0, 2.0] and np.isfinite(history["loss"]).all()
    assert len(before.kept[0]) > 40  # two networks, moving statistics, an average and two optimizers
    for spoilt in (1, 2):
        for (path, value), (_, begun_with) in zip(after.kept[spoilt], before.kept[spoilt], strict=True):
            np.testing.assert_array_equal(value, begun_with, err_msg=path)
    assert any(np.any(value != begun) for (_, value), (_, begun) in zip(after.kept[3], before.kept[3], strict=True))


def test_figures_that_are_no_numbers_are_a_nan_too():
    model = small_gan()
    model.compile(keras.optimizers.Adam(0.0), critic_optimizer=keras.optimizers.Adam(0.0), jit_compile=False)
    recorder = kg.callbacks.FlightRecorder(grey(40, seed=5))
    recorder.set_model(model)
    recorder.on_train_begin()
    recorder.on_epoch_begin(0)
    with pytest.warns(kg.callbacks.GameWarning, match="back to the last good epoch"):
        recorder.on_epoch_end(0, logs := {"loss": float("nan")})
    assert logs["rewinds"] == 1.0


def test_before_any_good_epoch_figures_keep_their_places():
    model = small_gan()
    model.compile(jit_compile=False)
    recorder = kg.callbacks.FlightRecorder(grey(40, seed=5))
    with pytest.warns(kg.callbacks.GameWarning, match="back to the last good epoch"):
        history = model.fit(grey(64), batch_size=16, epochs=4, callbacks=[Spoil({0, 1}), recorder], verbose=0).history
    assert {len(values) for values in history.values()} == {4}


def test_where_another_callback_stops_training_the_recorder_says_so():
    model = small_gan()
    model.compile(jit_compile=False)
    callbacks = [keras.callbacks.TerminateOnNaN(), kg.callbacks.FlightRecorder(grey(40, seed=5))]
    feed = rows_by_epoch([1.0, float("nan"), 1.0], batches=2)
    with pytest.warns(kg.callbacks.GameWarning, match="of at most 3 times\), where another callback stops training"):
        history = model.fit(feed, epochs=3, steps_per_epoch=2, callbacks=callbacks, verbose=0).history
    assert len(history["loss"]) == 2
    assert all(np.isfinite(w.numpy()).all() for w in model.trainable_variables)


def test_gradient_norms_are_of_all_that_is_minimised():
    def norms(game=None, **kwargs):
        model = small_gan(**kwargs)
        model.compile(keras.optimizers.Adam(0.0), game, critic_optimizer=keras.optimizers.Adam(0.0), jit_compile=False)
        recorder = kg.callbacks.FlightRecorder(grey(40, seed=5))
        recorder.set_model(model)
        recorder.on_train_begin()
        recorder.on_epoch_end(0, logs := {})
        return logs["gradient_norm_critic"]

    light, heavy = (norms(kg.Game("wasserstein", gradient_penalty=weight)) for weight in (1e-3, 1e3))
    assert heavy > 100.0 * light

    def regularized(weight):
        layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(weight))
        return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), layer])

    assert norms(critic_network=regularized(1e3)) > 100.0 * norms(critic_network=regularized(1e-3))


class Statistics(keras.callbacks.Callback):
    """Keeps the moving statistics of the critic at the end of each epoch; before that, may move them far off."""

    def __init__(self, by=0.0):
        super().__init__()
        self.by, self.kept = by, []

    def on_epoch_end(self, epoch, logs=None):
        variables = self.model.critic.non_trainable_variables
        assert len(variables) == 2
        variables[0].assign_add(np.full(variables[0].shape, self.by, np.float32))
        self.kept.append([variable.numpy() for variable in variables])


def test_a_critic_with_batch_normalisation_is_judged_as_it_is_trained():
    digits = data.load("digits")
    images, held_out = data.to_float(digits.train[:200]), data.to_float(digits.test)

    def trained(by):
        keras.utils.set_random_seed(0)
        model = kg.DCGAN((8, 8, 1), latent_dim=4, filters=(4, 8), seed=0)
        model.compile(keras.optimizers.Adam(1e-3))
        before, recorder, after = Statistics(by), kg.callbacks.FlightRecorder(held_out), Statistics()
        history = model.fit(images, batch_size=50, epochs=2, callbacks=[before, recorder, after], verbose=0).history
        np.testing.assert_array_equal(before.kept[-1][0], after.kept[-1][0])
        np.testing.assert_array_equal(before.kept[-1][1], after.kept[-1][1])
        return model, history, recorder.logits

    model, history, (real, fake) = trained(0.0)
    _, elsewhere, (real_elsewhere, _) = trained(1e3)
    for name in ("held_out_real_accuracy", "fresh_fake_accuracy"):
        assert history[name] == elsewhere[name]
    np.testing.assert_array_equal(real, real_elsewhere)
    assert not np.allclose(history["jensen_shannon"], elsewhere["jensen_shannon"])  # of each image by itself
    np.testing.assert_allclose(real, model.judge(tf.constant(held_out), training=True), rtol=1e-4, atol=1e-5)


def test_the_recorder_says_in_words_what_goes_wrong():
    dark, bright = 0.3 * grey(64), 1.0 - 0.3 * grey(64)
    # A critic that learns fast against a generator that does not learn.
    model = small_gan(input_dropout=0.0, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.0), critic_optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    with pytest.warns(kg.callbacks.GameWarning, match="apart without fail"):
        model.fit(bright, batch_size=16, epochs=40, callbacks=[kg.callbacks.FlightRecorder(bright)], verbose=0)
    # A critic that does not learn sees nothing, though the averages differ.
    model = small_gan()
    model.critic.head.kernel.assign(tf.zeros_like(model.critic.head.kernel))
    model.compile(keras.optimizers.Adam(0.0), critic_optimizer=keras.optimizers.Adam(0.0), jit_compile=False)
    with pytest.warns(kg.callbacks.GameWarning, match="sees no difference"):
        model.fit(dark, batch_size=16, epochs=3, callbacks=[kg.callbacks.FlightRecorder(dark)], verbose=0)
    # A generator that draws one image.
    model = small_gan()
    for weight in model.generator.trainable_variables[:1]:
        weight.assign(tf.zeros_like(weight))
    model.compile(keras.optimizers.Adam(0.0), jit_compile=False)
    with pytest.warns(kg.callbacks.GameWarning, match="nearly all alike"):
        model.fit(grey(64), batch_size=16, epochs=3, callbacks=[kg.callbacks.FlightRecorder(grey(64))], verbose=0)


def test_the_recorder_needs_a_critic():
    model = kg.VAE(SHAPE, latent_dim=2, hidden_units=(4,), likelihood="gaussian")
    model.compile()
    with pytest.raises(ValueError, match="has no critic"):
        model.fit(grey(), callbacks=[kg.callbacks.FlightRecorder(grey())], verbose=0)


def watched(game, shift=0.0, epochs=3, images=None, critic_rate=0.0, model=None):
    """The history of a game whose generator does not learn, its critic's logits moved by `shift`."""
    keras.utils.set_random_seed(0)
    model = small_gan(input_dropout=0.0, dropout=0.0) if model is None else model
    head = model.critic.head
    head.kernel.assign(-1e4 * head.kernel)  # new, its logits are some 1e-5
    head.bias.assign(head.bias + shift)
    model.compile(keras.optimizers.Adam(0.0), game, critic_optimizer=keras.optimizers.Adam(critic_rate), jit_compile=False)
    images = 1.0 - 0.3 * grey(64) if images is None else images
    recorder = kg.callbacks.FlightRecorder(images)
    return model.fit(images, batch_size=16, epochs=epochs, callbacks=[recorder], verbose=0).history


def test_a_wasserstein_critic_is_judged_by_differences_and_is_meant_to_win():
    game = kg.Game("wasserstein", gradient_penalty=10.0)
    plain, moved = watched(game), watched(game, shift=7.0)
    for name in ("held_out_real_accuracy", "fresh_fake_accuracy", "critic_weak", "real_accuracy", "fake_accuracy"):
        assert plain[name] == moved[name], name
    assert plain["fresh_fake_accuracy"][0] > 0 and "jensen_shannon" not in plain
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*apart without fail")
        won = watched(game, epochs=40, critic_rate=3e-3)
    assert won["held_out_real_accuracy"][-1] == won["fresh_fake_accuracy"][-1] == 1.0 and not any(won["critic_won"])


def test_a_least_squares_critic_is_undecided_at_one_half():
    with pytest.warns(kg.callbacks.GameWarning, match="apart without fail"):
        won = watched(kg.Game("least_squares"), epochs=40, critic_rate=3e-3)
    assert won["held_out_real_accuracy"][-1] == won["fresh_fake_accuracy"][-1] == won["fake_accuracy"][-1] == 1.0
    model = small_gan()
    model.critic.head.kernel.assign(tf.zeros_like(model.critic.head.kernel))
    with pytest.warns(kg.callbacks.GameWarning, match="sees no difference"):
        watched(kg.Game("least_squares"), shift=0.5, model=model)


class Perfect(kg.GAN):
    """Draws images of the data, of the class that is asked for if any is."""

    def __init__(self, images, labels, **kwargs):
        super().__init__(**kwargs)
        self._data = images, labels

    def generate(self, seed, label=None):
        images, labels = self._data
        turn = np.asarray(seed)[:, 1] * 31 + np.asarray(seed)[:, 0]
        rows = [np.arange(len(images))] * len(turn) if label is None else [np.flatnonzero(labels == each) for each in label]
        return {"sample": tf.constant(np.stack([images[row[k % len(row)]] for row, k in zip(rows, turn, strict=True)]))}


def test_images_in_the_order_of_their_labels_are_compared_with_draws_of_the_same():
    labels = np.repeat([0, 1], 400)
    images = np.clip(0.1 + 0.7 * labels[:, None, None, None] + 0.02 * grey(800), 0, 1).astype(np.float32)
    model = Perfect(images, labels, data_shape=SHAPE, latent_dim=4, hidden_units=(8,), critic_units=(8,), num_classes=2, seed=1)
    model.critic.head.kernel.assign(tf.zeros_like(model.critic.head.kernel))
    model.compile(keras.optimizers.Adam(0.0), critic_optimizer=keras.optimizers.Adam(0.0), jit_compile=False)
    recorder = kg.callbacks.FlightRecorder(images, labels)
    history = model.fit(images[::40], labels[::40], batch_size=10, callbacks=[recorder], verbose=0).history
    assert history["diversity"][0] == pytest.approx(1.0, abs=0.2)
    assert history["collapsed"] == history["critic_weak"] == [0.0]


def test_a_collapse_onto_some_images_or_onto_one_of_each_class_is_found():
    digits = data.load("digits")
    images, labels = data.to_float(digits.train), digits.labels["train"]
    held_out = data.to_float(digits.validation), digits.labels["validation"]

    def logs_of(drawn, of, num_classes=0):
        sizes = {"latent_dim": 4, "hidden_units": (4,), "critic_units": (4,)}
        model = Perfect(drawn, of, data_shape=SHAPE, num_classes=num_classes, seed=1, **sizes)
        model.compile(jit_compile=False)
        recorder = kg.callbacks.FlightRecorder(*held_out[: 2 if num_classes else 1])
        recorder.set_model(model)
        recorder.on_train_begin()
        recorder.on_epoch_end(0, logs := {})
        return logs

    one_of_each = np.array([np.flatnonzero(labels == each)[0] for each in range(10)])
    for chosen, classes in ((one_of_each[:1], 0), (one_of_each[:2], 0), (one_of_each, 0), (one_of_each, 10)):
        repeated = np.repeat(images[chosen], 40, axis=0)  # with differences that nobody sees
        repeated = np.clip(repeated + 0.005 * np.random.default_rng(0).standard_normal(repeated.shape), 0, 1).astype(np.float32)
        logs = logs_of(repeated, np.repeat(labels[chosen], 40), classes)
        assert logs["collapsed"] == 1.0 and logs["separation"] < 0.05
        assert (logs["diversity"] > 0.3) == (len(chosen) > 1)
    for classes in (0, 10):
        logs = logs_of(images, labels, classes)
        assert logs["collapsed"] == 0.0 and logs["separation"] == pytest.approx(1.0, abs=0.2)


def test_what_the_recorder_refuses():
    model = kg.GAN(SHAPE, latent_dim=4, hidden_units=(8,), critic_units=(8,), num_classes=3, seed=1)
    model.compile(jit_compile=False)
    labels = np.arange(32) % 3
    for held_out, of_held_out, reason in (
        (grey(), None, "labels of FlightRecorder are missing"),
        (grey(), labels + 1, "labels of FlightRecorder run from 1 to 3"),
        (grey(), labels[:30], "32 images and 30 labels"),
        (np.full((32, *SHAPE), 0.5, np.float32), labels, "images of FlightRecorder are all the same constant"),
        (grey(1), labels[:1], "at least 2 are needed"),
    ):
        with pytest.raises(ValueError, match=reason):
            recorder = kg.callbacks.FlightRecorder(held_out, of_held_out)
            model.fit(grey(), labels, verbose=0, callbacks=[recorder])
    for arguments in ({"patience": 0}, {"rewinds": -1}, {"patience": 2.0}):
        with pytest.raises(ValueError, match=f"FlightRecorder\\({next(iter(arguments))}="):
            kg.callbacks.FlightRecorder(grey(), **arguments)
