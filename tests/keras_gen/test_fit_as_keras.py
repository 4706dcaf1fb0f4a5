"""`fit` with groups of steps does what Keras's own `fit` does, whatever else a user does with the model meanwhile."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen import feed
from keras_gen.model import batch_mean

IMAGES = (np.random.default_rng(0).random((215, 6, 6, 1)) < 0.3).astype(np.float32)
STEPS = 11  # of 20 images, the last of 15


class Stock(kg.VAE):
    """The model in Keras's own `fit`."""

    fit = keras.Model.fit
    evaluate = keras.Model.evaluate
    make_train_function = keras.Model.make_train_function
    make_test_function = keras.Model.make_test_function


def compiled(kind=kg.VAE, **kwargs):
    keras.utils.set_random_seed(0)
    made = kind((6, 6, 1), seed=0, latent_dim=2, hidden_units=(), binarization="none")
    made.compile(optimizer=keras.optimizers.Adam(3e-3), **kwargs)
    return made


@pytest.fixture(scope="module")
def shared():
    """A model whose compiled programs tests share: what it has learned before is of no account to them."""
    return compiled()


def fit(made, x=IMAGES, **kwargs):
    size = None if isinstance(x, tf.data.Dataset) else 20
    return made.fit(x, **{"batch_size": size, "epochs": 2, "verbose": 0, "shuffle": False, **kwargs}).history


def batches(images=IMAGES, size=20):
    return tf.data.Dataset.from_tensor_slices(images).batch(size)


class Calls(keras.callbacks.Callback):
    """Calls a function at the end of each epoch."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        self.function()


LABELS = np.zeros(len(IMAGES), np.int32)
WEIGHTS = np.random.default_rng(1).random(len(IMAGES)).astype(np.float32)


@pytest.mark.parametrize(
    "arguments",
    [
        {"validation_data": IMAGES[:50]},
        # With labels, which the model does not use: Keras drops weights that have none beside them.
        {"y": LABELS, "sample_weight": WEIGHTS, "validation_data": (IMAGES[:50], LABELS[:50], WEIGHTS[:50])},
        {"x": batches().repeat(), "steps_per_epoch": 7, "validation_data": batches(size=10), "validation_steps": 3},
        {"y": LABELS, "class_weight": {0: 5.0}, "validation_split": 0.2},
    ],
    ids=("images", "weights", "datasets", "class weights and a split"),
)
def test_the_history_is_that_of_keras_fit_itself(arguments):
    stock, ours = (fit(compiled(kind, jit_compile=jit), **arguments) for kind, jit in ((Stock, False), (kg.VAE, "auto")))
    assert stock.keys() == ours.keys()
    for name in stock:
        np.testing.assert_allclose(ours[name], stock[name], rtol=1e-5, err_msg=name)


class _Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 22

    def __getitem__(self, index):
        return (IMAGES[10 * index : 10 * index + 10],)


def _forever():
    while True:
        yield (IMAGES[:10],)


STREAMS = {
    "of a length that the steps do not divide": lambda: batches(size=10),
    "of unknown length": lambda: batches(size=10).filter(lambda batch: True),
    "a sequence": _Sequence,
    "a generator": _forever,
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("name", sorted(STREAMS))
def test_a_validation_that_is_not_grouped_takes_its_own_number_of_steps(shared, name):
    fit(shared, epochs=1, validation_data=STREAMS[name](), validation_steps=3)
    assert float(shared._loss_tracker.count) == 30  # images


def test_an_evaluation_of_several_steps_a_call_ends_where_it_should():
    made = compiled(steps_per_execution=2, jit_compile=False)
    made.evaluate(_forever(), steps=3, verbose=0)
    assert float(made._loss_tracker.count) == 30


class Seen(keras.callbacks.Callback):
    """Needs each step."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)


def test_a_callback_sees_each_step_however_many_a_call_takes():
    made = compiled(steps_per_execution=3)
    for data in (IMAGES, batches(), batches().repeat(), _forever()):
        before, seen = int(made.steps_taken), Seen()
        fit(made, data, callbacks=[seen], steps_per_epoch=STEPS)
        assert seen.batches == [*range(STEPS), *range(STEPS)] and int(made.steps_taken) == before + 2 * STEPS


@pytest.mark.parametrize("validation", [None, IMAGES[:50]])
def test_a_training_that_is_not_grouped_keeps_the_users_steps_a_call(validation):
    made, in_force = compiled(steps_per_execution=4, jit_compile=False), []
    watch = Calls(lambda: in_force.append(made.steps_per_execution))
    fit(made, _forever(), steps_per_epoch=6, epochs=1, validation_data=validation, callbacks=[watch])
    assert in_force == [4] and int(made.steps_taken) == 6


class Encoded(kg.VAE):
    """A model that maps images to something, so that `predict` has something to do."""

    def call(self, x):
        return tf.reduce_sum(x, axis=(1, 2, 3))


def test_all_that_a_callback_may_call_is_as_outside_of_fit():
    made = compiled(Encoded)
    expected = made.predict(IMAGES, batch_size=20, verbose=0)
    assert expected.shape == (215,)
    seen = []

    def call():
        before = int(made.steps_taken)
        seen.append(
            {
                "predict": made.predict(IMAGES, batch_size=20, verbose=0).shape,
                "predict_on_batch": made.predict_on_batch(IMAGES[:7]).shape,
                "test_on_batch": np.isfinite(made.test_on_batch(IMAGES[:20], return_dict=True)["loss"]),
                "train_on_batch": np.isfinite(made.train_on_batch(IMAGES[:20], return_dict=True)["loss"]),
                "steps": int(made.steps_taken) - before,
                "evaluate": made.evaluate(batches(size=10), steps=3, verbose=0, return_dict=True).keys(),
                "images": float(made._loss_tracker.count),
            }
        )

    start = int(made.steps_taken)
    fit(made, IMAGES[:200], validation_data=IMAGES[:40], callbacks=[Calls(call)])
    assert len(seen) == 2
    for each in seen:
        assert each == {
            "predict": (215,),
            "predict_on_batch": (7,),
            "test_on_batch": True,
            "train_on_batch": True,
            "steps": 1,
            "evaluate": seen[0]["evaluate"],
            "images": 30.0,
        }
    assert int(made.steps_taken) - start == 2 * (10 + 1)
    np.testing.assert_array_equal(made.predict(IMAGES, batch_size=20, verbose=0), expected)


class Telling(kg.VAE):
    """A user's step that returns more than the metrics, or less."""

    def train_step(self, data):
        logs = super().train_step(data)
        return {**logs, "images": tf.cast(tf.shape(data)[0], tf.float32), "steps": tf.cast(self.steps_taken, tf.float32)}

    def test_step(self, data):
        return {"loss": tf.reduce_sum(data)}


@pytest.mark.parametrize("images", [IMAGES[:200], IMAGES], ids=("full batches", "short last batch"))
def test_what_a_users_step_returns_is_in_the_history(images):
    loop, plain = (
        fit(compiled(Telling, jit_compile=jit), images, validation_data=IMAGES[:40]) for jit in ("auto", False)
    )
    steps = -(-len(images) // 20)
    assert loop["images"] == plain["images"] == 2 * [len(images) - 20.0 * (steps - 1)]
    assert loop["steps"] == plain["steps"] == [steps, 2 * steps]
    np.testing.assert_allclose(loop["val_loss"], 2 * [IMAGES[20:40].sum()])
    assert plain["val_loss"] == loop["val_loss"]


BASES = {
    keras.callbacks.ModelCheckpoint: lambda folder: {"filepath": str(folder / "model.keras")},
    keras.callbacks.BackupAndRestore: lambda folder: {"backup_dir": str(folder)},
    keras.callbacks.TensorBoard: lambda folder: {"log_dir": str(folder)},
    keras.callbacks.TerminateOnNaN: lambda folder: {},
    keras.callbacks.History: lambda folder: {},
}


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_a_users_subclass_of_a_callback_of_keras_sees_each_step(shared, base, tmp_path):
    class Own(base):
        batches = ()

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            self.batches = (*self.batches, batch)

    own = Own(**BASES[base](tmp_path))
    fit(shared, epochs=1, callbacks=[own])
    assert own.batches == tuple(range(STEPS))


@pytest.mark.parametrize("jit_compile", ("auto", False))
def test_weights_alone_make_no_labels(jit_compile):
    class Labels(kg.VAE):
        def train_step(self, data):
            images, labels, weights = data
            return {"loss": tf.reduce_mean(weights) + (100.0 if labels is not None else 0.0)}

    made = compiled(Labels, jit_compile=jit_compile)
    history = fit(made, IMAGES[:40], sample_weight=np.ones(40), batch_size=20, epochs=1)
    assert history["loss"] == [1.0]  # None, as in Keras


def test_class_weights_are_weights_of_images_and_leave_the_order_to_the_seed():
    weights = {0: 0.5, 2: 3.0}
    by_image = np.array([weights.get(label, 1.0) for label in LABELS])

    def history(seed, **arguments):
        made = compiled(kg.VAE)
        keras.utils.set_random_seed(seed)
        return fit(made, **arguments)

    wanted = history(1, y=LABELS, sample_weight=by_image)
    for seed in (1, 2):
        assert history(seed, y=LABELS, class_weight=weights) == wanted
    both = {"y": LABELS, "sample_weight": by_image}
    for arguments, message in (({}, "class_weight was given without y"), (both, "both given")):
        with pytest.raises(ValueError, match=message):
            history(1, class_weight=weights, **arguments)


@pytest.mark.filterwarnings("ignore:Limiting steps_per_epoch", "ignore:Your input ran out of data")
@pytest.mark.parametrize("data", [IMAGES, batches()], ids=("array", "dataset"))
def test_a_limit_of_keras_on_the_steps_of_an_epoch_is_kept(shared, data):
    start = int(shared.steps_taken)
    keras.config.set_max_steps_per_epoch(2)
    try:
        fit(shared, data)
    finally:
        keras.config.set_max_steps_per_epoch(None)
    assert int(shared.steps_taken) - start == 4


def test_make_train_function_makes_another_when_forced(shared):
    fit(shared, epochs=1)
    before = dict(shared._loop.programs)
    shared.make_train_function()
    assert shared._loop.programs == before
    shared.make_train_function(force=True)
    assert not any(kind == "train" for kind, *_ in shared._loop.programs)


def test_tf_datas_autotuner_is_off_whatever_is_fed(monkeypatch):
    """Joining its thread makes `fit` seem to hang for seconds at its end."""
    iterated, made = [], compiled(run_eagerly=True)
    strategy = type(made.distribute_strategy)
    given = strategy.experimental_distribute_dataset

    def noted(self, dataset, options=None):
        iterated.append(dataset)
        return given(self, dataset, options)

    monkeypatch.setattr(strategy, "experimental_distribute_dataset", noted)
    two = IMAGES[:40], LABELS[:40]
    labelled = tf.data.Dataset.from_tensor_slices(two).batch(20)
    for x, arguments in (
        (two[0], {}),
        (batches(IMAGES[:40]), {}),
        (batches(IMAGES[:40]).filter(lambda images: True), {"steps_per_epoch": 1}),  # of which no group can be made
        (labelled, {"class_weight": {0: 2.0}}),
        ((batch for batch in np.split(IMAGES[:40], 2)), {}),
        (zip_batches(*two), {"class_weight": {0: 2.0}}),
        (two[0], {"validation_data": batches(IMAGES[:40])}),
        (two[0], {"validation_data": zip_batches(*two)}),
    ):
        made.fit(x, epochs=1, verbose=0, **arguments)
    made.evaluate(zip_batches(*two), verbose=0)
    assert len(iterated) == 11 and not any(dataset.options().autotune.enabled is not False for dataset in iterated)
    assert feed.one_by_one(feed.from_arrays(IMAGES, 20, limit=1)).options().autotune.enabled is False


def zip_batches(*arrays, count=2):
    """A generator of `count` batches."""
    yield from zip(*(np.split(array, count) for array in arrays), strict=True)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_that_has_ended_gives_what_it_gives_in_keras():
    stock, ours = (
        compiled(kind, run_eagerly=True).fit(
            IMAGES[:40], batch_size=20, shuffle=False, verbose=0, epochs=2, validation_data=zip_batches(IMAGES[:80], count=4)
        )
        for kind in (Stock, kg.VAE)
    )
    assert stock.history.keys() == ours.history.keys() and len(ours.history["val_loss"]) == 2
    for name in stock.history:
        np.testing.assert_allclose(ours.history[name], stock.history[name], rtol=1e-5, err_msg=name)


def test_no_rows_have_the_mean_0():
    """A replica may be given none of a short batch: NaN there would be NaN for all of them."""
    mean = tf.function(batch_mean, input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None])])
    assert float(mean(tf.zeros([0]), tf.zeros([0]))) == 0.0
    assert float(mean(tf.constant([1.0, 2.0]), tf.constant([1.0, 3.0]))) == 3.5
