"""What `fit`, `evaluate` and `predict` are given: taken where it is clear, refused in words where it cannot be."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg

SHAPE = (4, 4, 1)
IMAGES = np.random.default_rng(0).integers(0, 2, (24, *SHAPE)).astype(np.float32)
LABELS = np.arange(24) % 3


def new_vae(compiled=True):
    keras.utils.set_random_seed(0)
    model = kg.VAE(SHAPE, latent_dim=2, hidden_units=(), seed=1)
    if compiled:
        model.compile(run_eagerly=True)
    return model


def new_gan():
    keras.utils.set_random_seed(0)
    model = kg.GAN(SHAPE, latent_dim=2, hidden_units=(4,), critic_units=(4,), num_classes=3, seed=1)
    model.compile(run_eagerly=True)
    return model


def batches(*arrays, size=8):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(size)


class Sequence(keras.utils.PyDataset):
    def __init__(self, images, length=3, labels=LABELS, **options):
        super().__init__(**options)
        self.images, self.length, self.labels = images, length, labels

    @property
    def num_batches(self):
        return self.length

    def __getitem__(self, index):
        return self.images[8 * index : 8 * index + 8], self.labels[8 * index : 8 * index + 8]


def generator(images, labels=LABELS):
    for start in range(0, len(images), 8):
        yield images[start : start + 8], labels[start : start + 8]


WRONG = {
    "nothing": ({"x": None}, "x is missing"),
    "batch_size": ({"batch_size": 0}, "batch_size=0"),
    "fraction": ({"batch_size": 2.5}, "batch_size=2.5"),
    "none_left": ({"validation_split": 0.99}, "validation_split=0.99 of 24 images leaves none"),
    "split": ({"validation_split": 1.5}, "validation_split=1.5"),
    "weights": ({"sample_weight": np.ones(23)}, "sample_weight has 23 rows, x has 24"),
    "wide_weights": ({"sample_weight": np.ones((24, 2))}, "sample_weight has shape .24, 2."),
    "labels": ({"y": list(range(25))}, "y has 25 rows, x has 24"),
    "nested_labels": ({"y": [[1], "2"]}, "y is a list: an array is needed"),
    "validation": ({"validation_data": (IMAGES, np.ones(3))}, "y has 3 rows, validation_data has 24"),
    "validation_list": ({"validation_data": (IMAGES, [1, 2, 3])}, "y has 3 rows, validation_data has 24"),
    "list_of_images": ({"x": [IMAGES]}, "x is a list: images are needed"),
    "pair": ({"x": (IMAGES, LABELS)}, "x is a tuple: .*Labels and weights have arguments of their own"),
    "dict": ({"x": {"image": IMAGES}}, "x is a dict"),
    "dataset_weights": ({"x": batches(IMAGES), "sample_weight": np.ones(24)}, "sample_weight was given beside x"),
    "dataset_labels": ({"x": batches(IMAGES), "y": LABELS}, "y was given beside x"),
    "generator_labels": ({"x": generator(IMAGES), "y": LABELS}, "y was given beside x, a generator"),
    "dataset_of_dicts": ({"x": tf.data.Dataset.from_tensor_slices({"image": IMAGES}).batch(8)}, "dicts with the keys 'image'"),
    "endless": ({"x": batches(IMAGES).repeat()}, "x repeats without end: say by steps_per_epoch"),
    "endless_validation": ({"validation_data": batches(IMAGES).repeat()}, "without end: say by validation_steps"),
    "no_batch": ({"x": batches(IMAGES).take(0)}, "x holds no batch"),
    "no_batch_left": ({"x": batches(IMAGES).filter(lambda x: False)}, "x holds no batch"),
    "no_yield": ({"x": generator(IMAGES[:0])}, "x holds no batch"),
    "no_part": ({"validation_data": ()}, "validation_data has 0 parts"),
    "four_parts": ({"x": batches(IMAGES, LABELS, LABELS, LABELS)}, "a batch of x has 4 parts"),
    "nested": ({"x": batches((IMAGES, IMAGES), LABELS)}, "batches of x begin with a tuple"),
    "one_weight": ({"x": batches(IMAGES, LABELS).map(lambda x, y: (x, y, tf.ones(1)))}, "8 images and 1 weights"),
    "text": ({"x": "digits"}, "x is a str"),
    "endless_sequence": ({"x": Sequence(IMAGES, length=None)}, "x repeats without end: say by steps_per_epoch"),
    "empty_sequence": ({"x": Sequence(IMAGES, length=0)}, "x holds no batch"),
    "steps": ({"x": batches(IMAGES), "steps_per_epoch": -1}, "steps_per_epoch=-1: an integer of at least 1"),
    "validation_steps": ({"validation_data": IMAGES, "validation_steps": 0}, "validation_steps=0"),
    "sequence": ({"x": Sequence(2.0 * IMAGES)}, "batches of x have values from 0 to 2"),
    "sequence_shape": ({"x": Sequence(IMAGES[:, :2])}, "batches of x have shape"),
    "generator": ({"x": generator(np.nan * IMAGES)}, "batches of x contain NaN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        new_vae().fit(**{"x": IMAGES, "verbose": 0, **arguments})


def test_what_evaluate_and_predict_refuse():
    for arguments, message in (
        ({"x": batches(IMAGES), "sample_weight": np.ones(24)}, "sample_weight was given beside x"),
        ({"x": batches(IMAGES).repeat()}, "without end: say by steps"),
        ({"x": IMAGES, "steps": 0}, "steps=0"),
    ):
        with pytest.raises(ValueError, match=message):
            new_vae().evaluate(**arguments, verbose=0)
    for call in ("fit", "evaluate"):
        with pytest.raises(ValueError, match="this VAE is not compiled: call compile"):
            getattr(new_vae(compiled=False), call)(IMAGES, verbose=0)
    with pytest.raises(ValueError, match="a GAN maps no image to another"):
        new_gan().predict(IMAGES, verbose=0)


@pytest.mark.parametrize("shape", [(24,), (24, 1)])
def test_weights_in_a_row_or_in_a_column_weigh_the_same(shape):
    weights = np.arange(24.0) / 12.0
    expected = new_vae().fit(IMAGES, sample_weight=weights, batch_size=8, verbose=0).history
    given = [{"x": IMAGES, "sample_weight": weights.reshape(shape), "batch_size": 8}]
    given.append({"x": batches(IMAGES, LABELS, weights.reshape(shape)), "shuffle": False})
    assert new_vae().fit(**given[0], verbose=0).history == expected
    in_order = new_vae().fit(batches(IMAGES, LABELS, weights), verbose=0).history
    assert new_vae().fit(**given[1], verbose=0).history == in_order
    assert in_order["loss"] == pytest.approx(expected["loss"], rel=0.2)


def test_a_batch_alone_is_checked_as_all_data():
    grey, model = IMAGES * 0.5, kg.VAE(SHAPE, latent_dim=2, hidden_units=(), binarization="none", seed=1)
    model.compile(run_eagerly=True)
    for method in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="x have dtype uint8"):
            method((255 * IMAGES).astype(np.uint8))
        with pytest.raises(ValueError, match="x hold grey values"):
            method(grey)
        with pytest.raises(ValueError, match="x has 24: one is needed for each"):
            method(IMAGES, LABELS[:5])
    with pytest.raises(ValueError, match="labels of x run from 1 to 7"):
        new_gan().train_on_batch(IMAGES, np.where(LABELS, LABELS, 7))


def test_grey_images_are_never_scored_as_they_are_by_a_model_that_has_seen_binary_ones():
    model = new_vae()
    model.fit(IMAGES, verbose=0)
    assert model.binarization_in_force == "none"
    with pytest.warns(UserWarning, match="grey"):
        model.test_on_batch(IMAGES * 0.5)
    assert model.binarization_in_force == "dynamic"


def test_batches_of_streams_are_checked_where_their_spec_does_not_tell():
    def stream():
        for size in (8, 8, 5):
            yield np.zeros((4, size, size, 1), np.float32)

    sizes = tf.data.Dataset.from_generator(stream, output_signature=tf.TensorSpec((None, None, None, 1)))
    model = kg.VAE((8, 8, 1), latent_dim=2, hidden_units=(), seed=1)
    for jit_compile in ("auto", False):
        model.compile(jit_compile=jit_compile)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[4,5,5,1\]"):
            model.fit(sizes, verbose=0)

    def uneven():
        yield IMAGES[:8], LABELS[:8]
        yield IMAGES[:8], LABELS[:6]

    signature = tf.TensorSpec((None, *SHAPE)), tf.TensorSpec((None,), tf.int64)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not as many labels or weights as images"):
        new_gan().fit(tf.data.Dataset.from_generator(uneven, output_signature=signature), verbose=0)


def test_numbers_of_numpy_are_numbers():
    plain = new_vae().fit(IMAGES, batch_size=8, steps_per_epoch=2, verbose=0).history
    assert new_vae().fit(IMAGES, batch_size=np.int32(8), steps_per_epoch=np.int64(2), verbose=0).history == plain


def test_generators_may_yield_images_alone():
    pairs = new_vae().fit(generator(IMAGES), verbose=0).history
    assert new_vae().fit((images for images, _ in generator(IMAGES)), verbose=0).history == pairs


def test_lists_of_labels_are_labels_everywhere():
    history = new_gan().fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0).history
    lists = new_gan().fit(IMAGES, LABELS.tolist(), validation_data=(IMAGES, LABELS.tolist()), verbose=0).history
    assert history == lists


@pytest.mark.parametrize("bad", [np.array(["a"] * 24), np.array([None] * 24), np.full(24, np.nan), np.ones(24, bool)])
def test_labels_that_are_no_numbers(bad):
    with pytest.raises(ValueError, match="labels of x have dtype"):
        new_gan().fit(IMAGES, bad, verbose=0)


def test_labels_of_a_later_batch_are_checked():
    late = np.where(np.arange(24) < 20, LABELS, 7)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels of x: integers from 0 to 2 are needed"):
        new_gan().fit(batches(IMAGES, late), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels of x: integers from 0 to 2 are needed"):
        new_gan().fit(batches(IMAGES, np.where(np.arange(24) < 20, LABELS, 0.5)), verbose=0)
    for stream in (generator(IMAGES, late), Sequence(IMAGES, labels=late)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels of x run from 0 to 7"):
            new_gan().fit(stream, verbose=0, shuffle=False)
    history = new_gan().fit(Sequence(IMAGES, workers=2), epochs=2, verbose=0, shuffle=False).history
    assert history == new_gan().fit(batches(IMAGES, LABELS), epochs=2, verbose=0).history
    # Where images may be without a label, -1 says so.
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=2, hidden_units=(4,), critic_units=(4,), categories=3, seed=1)
    model.compile(run_eagerly=True)
    unlabelled = np.where(np.arange(24) < 20, LABELS, -1).astype(np.int8)
    assert np.isfinite(model.fit(batches(IMAGES, unlabelled), verbose=0).history["loss"]).all()


def test_batches_of_one_image_are_counted_as_they_are_met():
    def fit(count, **arguments):
        model = kg.DCGAN((8, 8, 1), latent_dim=2, filters=(2,), seed=1)
        model.compile(run_eagerly=True)
        images = np.random.default_rng(0).random((count, 8, 8, 1)).astype(np.float32)
        return model.fit(images, batch_size=4, verbose=0, **arguments)

    for count, arguments in ((9, {}), (18, {"validation_split": 0.5}), (9, {"steps_per_epoch": 1, "epochs": 3}), (1, {})):
        with pytest.raises(ValueError, match="make a batch of 1"):
            fit(count, **arguments)
    fit(9, steps_per_epoch=1, epochs=2)
    fit(9, validation_split=0.5)


def test_strings_beside_the_images_are_refused_under_xla_and_taken_without():
    names = np.array(["a"] * 24)
    model, free = new_vae(compiled=False), new_vae()
    model.compile(jit_compile=True)

    def generated():
        while True:
            yield IMAGES, names

    for arguments in (lambda: (batches(IMAGES, names),)), (lambda: (IMAGES, names)), (lambda: (generated(),)):
        with pytest.raises(ValueError, match="(batches of x hold|y holds) strings, which XLA does not know: leave them out"):
            model.fit(*arguments(), steps_per_epoch=1, verbose=0)
    for arguments in (batches(IMAGES, names),), (IMAGES, names):
        assert np.isfinite(free.fit(*arguments, verbose=0).history["loss"][0])
    with pytest.raises(ValueError, match="y holds strings"):
        model.fit(IMAGES, validation_data=(IMAGES, names), verbose=0)
