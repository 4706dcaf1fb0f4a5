"""A small network whose features stand in for what an eye sees, for the Frechet distance and for precision and recall.

Trained as a classifier on the data themselves; its weights are one `.npz` file, and its digest is a part of every score that is
made with it, so that scores of different networks are not compared.
"""

import hashlib
from pathlib import Path

import keras
import numpy as np

from keras_gen.checks import check_integers
from keras_gen.evaluation.small_networks import float32_network, seeded
from keras_gen.images import check_values

SHIPPED = Path(__file__).with_name("feature_networks")
#: How many features an image has.
FEATURES = 64
_CHUNK = 1_000


class FeatureNetwork:
    """A convolutional classifier; called with images `[N, H, W, C]` it returns features, float32 `[N, 64]`.

    Args:
        data_shape: (H, W, C) of the images.
        num_classes: of the labels that it learns from.
    """

    def __init__(self, data_shape, num_classes):
        self.data_shape, self.num_classes = tuple(data_shape), int(num_classes)
        side = min(self.data_shape[:2])
        stages = 2 if side < 16 else 3
        layers = keras.layers

        def features():
            for stage in range(stages):
                yield layers.Conv2D(16 * 2**stage, 3, strides=2, padding="same", activation="relu")
            yield layers.Flatten()
            yield layers.Dense(FEATURES, activation="relu")

        self._features = float32_network(self.data_shape, features)
        self._classifier = float32_network(
            self.data_shape, lambda: [self._features, layers.Dropout(0.3), layers.Dense(self.num_classes)]
        )

    def fit(self, images, labels, epochs=10, seed=0, verbose=0):
        """Trains on images float `[N, H, W, C]` in [0, 1] with integer labels `[N]`; returns self.

        Raises:
            ValueError: images or labels that are not so; numbers out of range.
        """
        check_integers(epochs=epochs)
        check_integers(0, seed=seed)
        images, labels = self._checked(images), self._checked_labels(labels, len(images))
        with seeded(seed):
            self._train(images, labels, epochs, verbose)
        # As `save` stores them, so that a network read back is the same to the bit.
        self._classifier.set_weights([weight.astype(np.float16) for weight in self._classifier.get_weights()])
        return self

    def _train(self, images, labels, epochs, verbose):
        twin = FeatureNetwork(self.data_shape, self.num_classes)  # whose weights are of that seed
        self._features, self._classifier = twin._features, twin._classifier
        steps = -(-len(images) // 100) * epochs
        self._classifier.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            auto_scale_loss=False,
        )
        self._classifier.fit(images, labels, batch_size=100, epochs=epochs, verbose=verbose)

    def accuracy(self, images, labels):
        """Share of images that it classifies right; arguments as `fit`."""
        images, labels = self._checked(images), self._checked_labels(labels, len(images))
        logits = np.concatenate(
            [self._classifier(images[i : i + _CHUNK], training=False) for i in range(0, len(images), _CHUNK)]
        )
        return float(np.mean(logits.argmax(-1) == labels))

    def __call__(self, images):
        images = self._checked(images)
        parts = [self._features(images[i : i + _CHUNK], training=False) for i in range(0, len(images), _CHUNK)]
        return np.concatenate(parts)

    def _checked(self, images):
        images = np.asarray(images, np.float32)
        check_values(images)
        if images.shape[1:] != self.data_shape:
            raise ValueError(f"images have shape {images.shape}; this feature network is for {('N', *self.data_shape)}.")
        return images

    def _checked_labels(self, labels, count):
        labels = np.asarray(labels)
        rule = f"integers from 0 to {self.num_classes - 1} are needed, one for each of the {count} images"
        if labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)):
            raise ValueError(f"labels have dtype {labels.dtype} and shape {labels.shape}; {rule}.")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(f"labels run from {labels.min()} to {labels.max()}; {rule}.")
        return labels.ravel()

    @property
    def digest(self):
        """sha256 of the shapes and the weights."""
        digest = hashlib.sha256(repr((self.data_shape, self.num_classes)).encode())
        for weight in self._classifier.get_weights():
            digest.update(np.ascontiguousarray(weight, np.float32).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path):
        """Writes the weights as `.npz`, in float16."""
        arrays = {f"weight_{index}": weight.astype(np.float16) for index, weight in enumerate(self._classifier.get_weights())}
        with open(path, "wb") as file:
            np.savez_compressed(file, data_shape=self.data_shape, num_classes=self.num_classes, **arrays)

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as arrays:
            network = cls(arrays["data_shape"].tolist(), int(arrays["num_classes"]))
            count = len(network._classifier.get_weights())
            network._classifier.set_weights([arrays[f"weight_{index}"] for index in range(count)])
        return network

    @classmethod
    def shipped(cls, name):
        """The network that comes with the package for a data set: "digits", "mnist" or "cifar10".

        Raises:
            ValueError: there is none of that name.
        """
        known = sorted(path.stem for path in SHIPPED.glob("*.npz"))
        if name not in known:
            raise ValueError(f"no feature network for {name!r} is shipped; there are {', '.join(known)}. Train one with fit.")
        return cls.load(SHIPPED / f"{name}.npz")
