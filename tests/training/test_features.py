"""The feature networks that the package ships: how they are trained, and where their files go."""

import numpy as np
import pytest

from keras_gen.evaluation import FeatureNetwork
from training import data, features


def test_a_network_is_trained_and_its_file_holds_it(tmp_path):
    network, accuracy = features.train("digits", epochs=8, folder=tmp_path / "networks")
    assert accuracy > 0.8  # a tenth by chance
    (file,) = (tmp_path / "networks").iterdir()
    loaded = FeatureNetwork.load(file)
    assert file.name == "digits.npz" and loaded.digest == network.digest
    digits = data.load("digits")
    images = data.to_float(digits.test)
    np.testing.assert_array_equal(loaded(images), network(images))
    assert loaded.accuracy(images, digits.labels["test"]) == accuracy


@pytest.mark.parametrize("name", ["folder:images", "folder:/some/path", "npz:images.npz", "translated:npz:images.npz"])
def test_data_that_are_named_by_a_path_are_refused_before_they_are_read(tmp_path, name):
    with pytest.raises(ValueError, match="named by a path"):
        features.train(name, folder=tmp_path)
    assert not list(tmp_path.iterdir())
