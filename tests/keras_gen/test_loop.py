"""The device loop does what Keras's own loop does: same seed, same history; every callback sees what it should."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen import conditionals, feed
from keras_gen.model import one_after_another

IMAGES = (np.random.default_rng(0).random((215, 6, 6, 1)) < 0.3).astype(np.float32)
STEPS = 11  # of 20 images, the last of 15


class _Shelf:
    """Models that tests have done with, to be taken again: their compiled programs are what costs."""

    def __init__(self):
        self._free, self._taken = {}, []

    def take(self, make, *key):
        """A model of this kind as `make()` makes one, which the test has not been given before."""
        free = self._free.setdefault(key, [])
        if free:
            model, start = free.pop()
            for variable, value in zip(self._state(model), start, strict=True):
                variable.assign(value)
        else:
            model = make()
            start = [variable.numpy() for variable in self._state(model)]
        self._taken.append((free, (model, start)))
        return model

    def put_back(self, model=None):
        """Puts back this model, or all that have been taken."""
        for taken in list(self._taken):
            free, entry = taken
            if model is not None and entry[0] is not model:
                continue
            # One that has seen a data set, whose later batches nobody knows, binarises from then on: another program.
            if entry[0]._all_binary is not False:
                free.append(entry)
            self._taken.remove(taken)

    def clear(self):
        self._free.clear()

    @staticmethod
    def _state(model):
        return [*model.variables, *model.optimizer.variables]


_shelf = _Shelf()


@pytest.fixture(autouse=True, scope="module")
def empty_shelf():
    """Nothing of this module stays in memory."""
    yield
    _shelf.clear()


@pytest.fixture(autouse=True)
def models_back_on_the_shelf():
    yield
    _shelf.put_back()


def new_model(jit_compile="auto", **kwargs):
    """A model with the same weights and seed whenever it is made."""
    keras.utils.set_random_seed(0)
    made = kg.VAE((6, 6, 1), seed=0, **{"latent_dim": 2, "hidden_units": (), **kwargs})
    made.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=jit_compile)
    return made


def model(jit_compile="auto", **kwargs):
    """As `new_model`, for tests that change nothing but its variables: not how it is compiled, nor the epoch it begins at."""
    key = keras.config.dtype_policy().name, jit_compile, *sorted(kwargs.items())
    return _shelf.take(lambda: new_model(jit_compile, **kwargs), *key)


def fit(made, x=IMAGES, **kwargs):
    batch_size = None if isinstance(x, tf.data.Dataset) else 20
    arguments = {"epochs": 3, "verbose": 0, "shuffle": False, "batch_size": batch_size, **kwargs}
    return made.fit(x, **arguments).history


def history_of(x=IMAGES, jit_compile="auto", options=None, **kwargs):
    """The history of `fit` with these arguments, of a model that the next may have."""
    made = model(jit_compile, **options or {})
    history = fit(made, x, **kwargs)
    _shelf.put_back(made)
    return history


def assert_same_as_keras(x=IMAGES, options=None, **kwargs):
    """That the loop's history is that of Keras's own, one call a step: which it returns."""
    loop, plain = (history_of(x, jit_compile, options, **kwargs) for jit_compile in ("auto", False))
    assert_same(loop, plain)
    return loop


class Steps(keras.callbacks.Callback):
    """Records what a batch-level callback of a user sees."""

    def __init__(self):
        super().__init__()
        self.begins, self.ends, self.taken = [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.begins.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)
        self.taken.append(int(self.model._noise_state.numpy()[2]))


@pytest.fixture(scope="module")
def stock():
    """The history of Keras's own loop, one call a step."""
    return history_of(jit_compile=False, validation_data=IMAGES[:50])


def assert_same(history, other, names=None):
    for name in names or other:
        np.testing.assert_allclose(history[name], other[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_same_history_as_keras_over_a_hundred_steps():
    assert_same_as_keras(epochs=10)


def test_images_in_double_precision_train_as_in_single():
    single, double = (history_of(IMAGES.astype(dtype), False, epochs=1) for dtype in ("float32", "float64"))
    assert double == single


def test_validation_and_the_short_last_batch(stock):
    made = model()
    assert_same(fit(made, validation_data=IMAGES[:50]), stock)
    assert int(made._noise_state.numpy()[2]) == 3 * STEPS


def test_a_convolutional_model_loops_without_xla():
    histories = []
    for jit_compile in ("auto", False):
        made = model(jit_compile, hidden_units=(4,), encoder="convolutional", decoder="convolutional", activation="elu")
        histories.append(fit(made))
        assert not made.jit_compile
    assert_same(*histories)


DATASETS = {
    "finite": lambda data: (data, {}),
    "infinite": lambda data: (data.repeat(), {"steps_per_epoch": STEPS}),
    "unknown": lambda data: (data.filter(lambda batch: True), {}),
    "one batch": lambda data: (data.take(1).repeat(STEPS), {}),
    "shuffled anew each epoch": lambda data: (data.shuffle(STEPS, seed=3), {}),
}


@pytest.mark.parametrize("name", sorted(DATASETS))
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_datasets(name):
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(20)
    histories = []
    for jit_compile in ("auto", False):
        x, arguments = DATASETS[name](data)
        made = model(jit_compile)
        histories.append(fit(made, x, **arguments))
        assert int(made._noise_state.numpy()[2]) == 3 * STEPS
    assert_same(*histories)


def test_batches_of_varying_size():
    sizes = [20, 20, 7, 20, 3, 3, 20]
    data = tf.data.Dataset.from_generator(
        lambda: (IMAGES[:size] for size in sizes), output_signature=tf.TensorSpec((None, 6, 6, 1), tf.float32)
    ).apply(tf.data.experimental.assert_cardinality(len(sizes)))
    assert_same_as_keras(data)


@pytest.mark.parametrize("steps_per_epoch", [4, 13])
def test_steps_per_epoch_of_arrays(steps_per_epoch):
    loop, watched, steps = history_of(steps_per_epoch=steps_per_epoch, epochs=3, shuffle=True), model(), Steps()
    assert_same(loop, fit(watched, steps_per_epoch=steps_per_epoch, epochs=3, shuffle=True, callbacks=[steps]))
    assert int(watched._noise_state.numpy()[2]) == 3 * steps_per_epoch
    assert steps.ends == 3 * list(range(steps_per_epoch))


def test_sample_weight_labels_and_validation_split():
    weights = np.random.default_rng(1).random(len(IMAGES)).astype(np.float32)
    assert_same_as_keras(sample_weight=weights, validation_split=0.2)
    zero = history_of(sample_weight=np.zeros(len(IMAGES), np.float32))
    assert zero["loss"] == [0.0, 0.0, 0.0]
    data = tf.data.Dataset.from_tensor_slices((IMAGES, np.zeros(len(IMAGES)), weights)).batch(20)
    assert_same_as_keras(data)


def test_validation_freq_and_validation_steps():
    arguments = {"validation_data": IMAGES, "validation_freq": 2, "validation_steps": 3, "validation_batch_size": 10}
    assert len(assert_same_as_keras(epochs=4, **arguments)["val_loss"]) == 2


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_generators_and_sequences():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return STEPS

        def __getitem__(self, index):
            return (IMAGES[20 * index : 20 * index + 20],)

    assert_same_as_keras(Batches(), batch_size=None)
    # Arrays beside them are fed by groups of one, at every epoch.
    assert len(assert_same_as_keras(Batches(), batch_size=None, validation_data=IMAGES[:30])["val_loss"]) == 3

    def generator():
        while True:
            yield (IMAGES[:20],)

    histories = [history_of(generator(), jit_compile, batch_size=None, steps_per_epoch=5) for jit_compile in ("auto", False)]
    assert_same(*histories)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        loop, plain = history_of(), history_of(jit_compile=False)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(loop["loss"], plain["loss"], rtol=1e-2)


def test_dynamic_binarisation_draws_the_same():
    grey = np.random.default_rng(0).random(IMAGES.shape).astype(np.float32)
    assert_same_as_keras(grey, {"binarization": "dynamic"})


def test_shuffling_is_a_function_of_the_seed_and_goes_on_after_an_interruption():
    whole, again = (history_of(shuffle=True, epochs=4) for _ in range(2))
    assert whole == again
    assert whole["loss"] != history_of(epochs=4)["loss"]
    parts = model()
    first = fit(parts, shuffle=True, epochs=2)
    rest = fit(parts, shuffle=True, epochs=4, initial_epoch=2)
    assert first["loss"] + rest["loss"] == whole["loss"]


def test_an_epoch_visits_each_image_once_in_an_order_of_its_own():
    made = feed.from_arrays(np.arange(23), 5, order=lambda: (tf.constant([1, 2]), tf.constant(0, tf.int64)), limit=3)
    epochs, seen = [], []
    for group, sizes in made.dataset.take(3 * 3).as_numpy_iterator():
        seen += [value for batch, size in zip(group, sizes, strict=True) for value in batch[:size]]
        if len(seen) == 23:
            epochs.append(seen)
            seen = []
    assert made.steps == 5 and len(epochs) == 3
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(23))


def test_a_users_batch_level_callback_sees_each_step(stock):
    steps = Steps()
    assert_same(history_of(callbacks=[steps]), {name: stock[name] for name in ("loss", "kl")})
    assert steps.begins == steps.ends == 3 * list(range(STEPS))
    assert steps.taken == list(range(1, 3 * STEPS + 1))


def test_lambda_callbacks_see_each_step():
    seen = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    history_of(epochs=1, callbacks=[callback])
    assert seen == list(range(STEPS))


@pytest.fixture
def told(monkeypatch):
    """The steps that Keras's progress bar, which is content with groups, is told of."""
    steps, bar = [], keras.callbacks.ProgbarLogger
    monkeypatch.setattr(bar, "on_train_batch_end", lambda self, batch, logs=None: steps.append(batch))
    return steps


def test_a_callback_sees_each_batch_of_the_validation():
    class Seen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.batches = []

        def on_test_batch_end(self, batch, logs=None):
            self.batches.append(batch)

    for data in (IMAGES[:90], tf.data.Dataset.from_tensor_slices(IMAGES[:90]).batch(20)):
        seen = Seen()
        history = history_of(epochs=1, validation_data=data, callbacks=[seen])
        assert seen.batches == list(range(5))
        assert_same(history, history_of(epochs=1, validation_data=data))


def test_the_progress_bar_ends_at_the_number_of_steps(monkeypatch, told):
    monkeypatch.setattr(feed, "GROUP_STEPS", 4)
    made = model()
    fit(made, callbacks=[keras.callbacks.ProgbarLogger()], epochs=2, verbose=0)
    # 10 full batches in groups of 4, 4 and 2, and the short one.
    assert told[-1] == STEPS - 1 and len(told) == 2 * 3
    assert made.history.params["steps"] == STEPS


def test_epoch_level_callbacks(tmp_path):
    keep = keras.callbacks
    made = model()
    history = fit(
        made,
        epochs=8,
        validation_data=IMAGES[:50],
        callbacks=[
            keep.ModelCheckpoint(tmp_path / "{epoch}.keras"),
            keep.CSVLogger(tmp_path / "log.csv"),
            keep.TensorBoard(tmp_path / "board"),
            keep.EarlyStopping("loss", min_delta=1e6, patience=3),
            keep.ReduceLROnPlateau("loss", min_delta=1e6, patience=1, factor=0.5, min_lr=0.0),
        ],
    )
    assert len(history["loss"]) == 4  # EarlyStopping
    assert sorted(path.name for path in tmp_path.glob("*.keras")) == ["1.keras", "2.keras", "3.keras", "4.keras"]
    assert list((tmp_path / "board").rglob("events*"))
    assert history["learning_rate"][-1] < history["learning_rate"][0]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5
    rates = history_of(callbacks=[keep.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))])["learning_rate"]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.1 / 3], rtol=1e-6)


def test_a_checkpoint_of_a_fit_under_way_keeps_the_settings_of_compile(tmp_path):
    fit(model(), epochs=1, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")])
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    settings = loaded.get_compile_config()
    assert (settings["steps_per_execution"], settings["jit_compile"], loaded.steps_per_execution) == (1, "auto", 1)


def test_a_learning_rate_set_by_a_callback_reaches_the_program():
    made = model()
    before = [weight.numpy() for weight in made.trainable_weights]
    fit(made, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)])
    for weight, value in zip(made.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_callbacks_that_count_steps(tmp_path):
    made = model()
    fit(made, epochs=2, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.keras", save_freq=5)])
    assert len(list(tmp_path.glob("*.keras"))) == 2 * STEPS // 5
    board = keras.callbacks.TensorBoard(tmp_path / "board", update_freq=2)
    fit(model(), epochs=1, callbacks=[board])
    assert board._global_train_batch == STEPS


def test_backup_and_restore_continues_where_it_stopped(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    whole = model()
    fit(whole, epochs=4, shuffle=True)
    with pytest.raises(KeyboardInterrupt):
        fit(new_model(), epochs=4, shuffle=True, callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Interrupt()])
    resumed = new_model()
    fit(resumed, epochs=4, shuffle=True, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])
    for ours, theirs in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_terminate_on_nan_stops_at_the_step():
    made, steps = model(), Steps()
    made.data_conditional._head.bias.assign(np.full(36, np.nan))
    history = fit(made, callbacks=[keras.callbacks.TerminateOnNaN(), steps])
    assert steps.ends == [0] and len(history["loss"]) == 1


@pytest.mark.parametrize("bad_step", [5, 9, 10])
def test_terminate_on_nan_stops_within_a_group_where_keras_does(bad_step):
    """Without any callback that makes the steps single; step 10 is the short batch, 9 the one before."""
    weights = np.ones(215, np.float32)
    weights[20 * bad_step] = np.nan

    def steps_taken(jit_compile, stop=True):
        made = model(jit_compile)
        fit(made, sample_weight=weights, callbacks=[keras.callbacks.TerminateOnNaN()] if stop else [])
        taken = made._noise_state.numpy()[2]
        _shelf.put_back(made)
        return taken

    assert steps_taken("auto") == steps_taken(False) == bad_step + 1
    assert steps_taken("auto", stop=False) == 3 * STEPS


def test_evaluating_other_data_from_a_callback_disturbs_nothing(stock):
    figures = []

    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            figures.append(self.model.evaluate(IMAGES[100:137], batch_size=10, verbose=0, return_dict=True)["loss"])

    made = model()
    history = fit(made, validation_data=IMAGES[:50], callbacks=[Evaluate()])
    assert_same(history, stock)
    assert figures[-1] == pytest.approx(made.evaluate(IMAGES[100:137], batch_size=10, verbose=0, return_dict=True)["loss"])


def test_fitting_again_compiles_nothing_again():
    made, dataset = model(), tf.data.Dataset.from_tensor_slices(IMAGES).batch(20)
    fit(made, dataset)
    fit(made)
    traces = {key: program.experimental_get_tracing_count() for key, program in made._loop.programs.items()}
    fit(made, x=1.0 - IMAGES)
    fit(made, dataset)
    assert traces == {key: program.experimental_get_tracing_count() for key, program in made._loop.programs.items()}


def test_programs_that_tensorflow_takes_for_large_run_more_than_once():
    # Its gradients of three uses of one tensor, in a loop within the loop, were added up in a variable that stayed behind.
    window = {"attention": "soft", "read_size": 12, "write_size": 12}
    made = kg.DRAW((28, 28, 1), steps=16, units=256, **window, seed=1)
    made.compile()
    assert len(made.fit(np.zeros((400, 28, 28, 1), np.float32), batch_size=400, epochs=2, verbose=0).history["loss"]) == 2


class _Late(conditionals.Bernoulli):
    """A prior whose use of that number in a step, counted from 1, reads its parameters after 20,000 rounds of nothing."""

    uses, late = 0, None

    def call(self, parent=None):
        self.uses += 1
        if self.uses != self.late:
            return super().call(parent)
        with tf.control_dependencies(tf.while_loop(lambda i: i < 20_000, lambda i: (i + 1,), (0,))):
            return super().call(parent)


def test_weights_are_read_before_their_update_however_late():
    def trained(late):
        keras.utils.set_random_seed(0)
        prior = _Late((6,), name="p1")
        generative = [prior, conditionals.Bernoulli((6, 6, 1), name="p0")]
        made = kg.HelmholtzMachine(generative, [conditionals.Bernoulli((6,), name="q1")], seed=1)
        made.compile(keras.optimizers.Adam(0.1), kg.objectives.ReweightedWakeSleep(5), jit_compile=False)
        prior.uses, prior.late = 0, late
        made.fit(IMAGES[:40], batch_size=20, epochs=1, verbose=0)
        assert prior.uses == 3  # the prior of the data's latents, the dream's draw, the prior of the dream's latents
        return made.get_weights()

    for ours, theirs in zip(trained(late=2), trained(late=None), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_step_copies_a_weight():
    made = model(hidden_units=(11, 13))
    fit(made, epochs=1)
    group = tf.zeros((4, 20, 6, 6, 1)), tf.constant(0), tf.constant(4), tf.constant(False)
    ir = made._loop.programs["train", "group", True].experimental_get_compiler_ir(*group)(stage="optimized_hlo")
    bodies = [body for body in ir.split("\n\n") if "dot(" in body]
    copied = re.findall(r"= f32\[(\d+,\d+)\]\S* copy\(", "".join(bodies))
    shapes = {",".join(map(str, weight.shape)) for weight in made.trainable_weights}
    assert bodies and not shapes & set(copied)


def test_gradients_put_in_order_stay_what_they_are():
    rows = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([3]), tf.constant([4, 2]))
    gradients = [tf.constant(value, tf.float32) for value in (np.nan, [np.inf, 1.0], -2.5, [[3e-38]])]
    gradients += [None, rows, tf.constant([-np.inf, 7.0], tf.float16), tf.constant(0.1)]
    ordered = tf.function(one_after_another, jit_compile=True)(gradients[:4]) + one_after_another(gradients[4:])
    assert ordered[4] is None and ordered[5] is rows
    for one, other in zip(gradients, ordered, strict=True):
        if isinstance(one, tf.Tensor):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_groups_respect_memory(monkeypatch):
    monkeypatch.setattr(feed, "GROUP_BYTES", 3 * 20 * 36 * 4)
    made = feed.from_arrays(IMAGES, 20)
    assert made.group_steps == 3
    assert max(len(sizes) for _, sizes in made.dataset.take(20).as_numpy_iterator()) == 3


def test_a_dataset_larger_than_a_group_is_streamed():
    produced = []

    def images():
        for index in range(400):
            produced.append(index)
            yield IMAGES[:20]

    data = tf.data.Dataset.from_generator(images, output_signature=tf.TensorSpec((20, 6, 6, 1), tf.float32))
    made = feed.from_dataset(data, limit=16)
    iterator = iter(made.dataset)
    next(iterator)
    assert len(produced) < 100  # groups under way, not the whole


def test_the_loop_can_be_bounded_and_turned_off(told):
    one_by_one = {"jit_compile": False}, {"run_eagerly": True}
    for arguments, steps in (({}, 10), ({"steps_per_execution": 3}, 3), *((each, 1) for each in one_by_one)):
        told.clear()
        made = new_model()
        made.compile(**arguments)
        history = fit(made, epochs=1, callbacks=[keras.callbacks.ProgbarLogger()])
        assert told[0] == steps - 1 and told[-1] == STEPS - 1
        assert np.isfinite(history["loss"][0])


def test_networks_of_the_users_own_train_as_in_keras(tmp_path):
    def made(jit_compile):
        keras.utils.set_random_seed(0)
        network = keras.Sequential(
            [
                keras.layers.Conv2D(2, 3),  # so that XLA has no part in it, which draws Keras's noise in another way
                keras.layers.Flatten(),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5),
            ]
        )
        return new_model(jit_compile, encoder=network), network

    histories = []
    for jit_compile in ("auto", False):
        trained, network = made(jit_compile)
        histories.append(fit(trained))
        normalization = network.layers[2]
        assert np.abs(normalization.moving_mean).max() > 0.0 and np.abs(normalization.moving_variance - 1.0).max() > 0.0
        # Within `fit` alone: what is scored and drawn is a function of its arguments.
        assert trained.evaluate(IMAGES, verbose=0) == trained.evaluate(IMAGES, verbose=0)
        np.testing.assert_array_equal(trained(IMAGES[:4]), trained(IMAGES[:4]))
    assert_same(*histories)
    # What is dropped is a function of the model's seed and of the steps taken, as all noise is.
    trained.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(1)
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert fit(again) == fit(trained)
