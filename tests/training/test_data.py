"""Loading, checking, splitting and batching of images."""

import numpy as np
import pytest
from PIL import Image

from training import data, sources


def save_npz(path, images):
    file = path / "images.npz"
    np.savez(file, images=images)
    return f"npz:{file}"


def grey(count=20, size=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 1), np.uint8)


# Sources.


def test_digits():
    digits = data.load("digits")
    assert digits.shape == (8, 8, 1)
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1259, 179, 359)
    assert digits.kind == "grey"
    assert digits.train.min() == 0 and digits.train.max() == 1
    # No image is lost or in two splits.
    together = np.sort(np.concatenate([digits.train, digits.validation, digits.test]).reshape(1797, -1), axis=0)
    np.testing.assert_array_equal(together, np.sort(sources.digits().images["all"].reshape(1797, -1), axis=0))


def test_the_split_is_fixed():
    first, second = data.load("digits"), data.load("digits")
    assert first.digest == second.digest == "472b0ba1" + first.digest[8:]


def test_npz_of_uint8_stays_uint8(tmp_path):
    loaded = data.load(save_npz(tmp_path, grey(20)))
    assert loaded.train.dtype == np.uint8 and loaded.kind == "grey"
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (16, 2, 2)


def test_npz_of_floats(tmp_path):
    loaded = data.load(save_npz(tmp_path, np.random.default_rng(0).random((10, 3, 3, 3))))
    assert loaded.train.dtype == np.float32 and loaded.kind == "colour"


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float64])
def test_zeros_and_ones_are_binary_in_every_type(tmp_path, dtype):
    images = np.random.default_rng(0).integers(0, 2, (10, 3, 3, 1)).astype(dtype)
    loaded = data.load(save_npz(tmp_path, images))
    assert loaded.kind == "binary"
    assert set(np.unique(data.to_float(loaded.train))) == {0.0, 1.0}


def test_the_digest_depends_on_contents(tmp_path):
    images = grey(10)
    first = data.load(save_npz(tmp_path, images)).digest
    assert data.load(save_npz(tmp_path, images)).digest == first
    images[3, 2, 1, 0] ^= 1
    assert data.load(save_npz(tmp_path, images)).digest != first


def test_the_digest_of_the_labels_is_their_own(tmp_path):
    images, labels = grey(10), np.arange(10)
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    labelled = data.load(f"npz:{tmp_path}/images.npz")
    np.savez(tmp_path / "images.npz", images=images, labels=labels[::-1])
    others = data.load(f"npz:{tmp_path}/images.npz")
    plain = data.load(save_npz(tmp_path, images))
    assert labelled.digest == others.digest == plain.digest
    assert len({labelled.labels_digest, others.labels_digest, plain.labels_digest}) == 3 and plain.labels_digest is None
    record = {"sha256": labelled.digest, "labels_sha256": labelled.labels_digest}
    assert data.changed(labelled, record) == "" and "labels" in data.changed(others, record)
    assert data.changed(others, {"sha256": labelled.digest}) == ""  # an older record, which tells nothing of labels


def save_pictures(path, pictures):
    for name, picture in pictures.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)


def test_folder_is_read_in_order_of_paths(tmp_path):
    images = grey(5, size=6)
    save_pictures(tmp_path, {f"{'ab'[i % 2]}/{i}.png": Image.fromarray(image[..., 0]) for i, image in enumerate(images)})
    (tmp_path / "notes.txt").write_text("not an image")
    read = sources.folder(tmp_path).images["all"]
    np.testing.assert_array_equal(read, images[[0, 2, 4, 1, 3]])


def test_hidden_folders_and_files_are_no_data(tmp_path):
    root = tmp_path / ".cache" / "images"  # that the folder itself lies in a hidden one does not matter
    names = ("cats/0.png", "dogs/1.png", "cats/.ipynb_checkpoints/0-checkpoint.png", ".git/2.png", "dogs/._1.png", ".3.png")
    save_pictures(root, {name: Image.new("L", (4, 4), 100) for name in names})
    read = sources.folder(root)
    assert len(read.images["all"]) == 2
    np.testing.assert_array_equal(read.labels["all"], [0, 1])


def test_a_name_that_holds_in_every_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data.absolute("npz:a/../b.npz") == f"npz:{tmp_path}/b.npz"
    assert data.absolute("translated:folder:images") == f"translated:folder:{tmp_path}/images"
    for name in ("digits", "mnist", "mnist:3.*.*", "cluttered:mnist", "folder:/a/b", "folder:"):
        assert data.absolute(name) == name
    # To others the path says nothing.
    assert [data.shown(name) for name in ("translated:folder:/a/b", "npz:/a/b.npz", "mnist:3.*.*", "folder:b/.")] == [
        "translated:folder:b", "npz:b.npz", "mnist:3.*.*", "folder:b",
    ]  # fmt: skip


def test_folder_with_one_colour_image_is_colour(tmp_path):
    save_pictures(tmp_path, {"0.png": Image.new("L", (4, 4), 200), "1.png": Image.new("RGB", (4, 4), (255, 0, 0))})
    read = sources.folder(tmp_path).images["all"]
    assert read.shape == (2, 4, 4, 3)
    assert (read[0] == 200).all() and (read[1, ..., 0] == 255).all()


def test_folder_is_resized(tmp_path):
    save_pictures(tmp_path, {f"{i}.jpg": Image.new("RGB", (10 + i, 20), (i, 0, 0)) for i in range(4)})
    assert data.load(f"folder:{tmp_path}", image_size=(6, 4)).shape == (6, 4, 3)


def test_tfds(tfds_dir):
    mnist = data.load("mnist", data_dir=tfds_dir)
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
    assert mnist.train.dtype == np.uint8 and mnist.kind == "grey"
    small = data.load("binarized_mnist", data_dir=tfds_dir)
    assert (len(small.train), len(small.validation), len(small.test)) == (50_000, 10_000, 10_000)
    assert small.kind == "binary" and small.train.max() == 255


# Bad input: each refused with a message that says what was given and what is allowed.

BAD_ARRAYS = {
    "above one": (np.full((5, 3, 3, 1), 1.5), r"values from 1.5 to 1.5; floats must lie in \[0, 1\]"),
    "below zero": (np.full((5, 3, 3, 1), -0.1), r"values from -0.1"),
    "nan": (np.full((5, 3, 3, 1), np.nan), "45 values are NaN or infinite"),
    "inf": (np.full((5, 3, 3, 1), np.inf), "NaN or infinite"),
    "rank 3": (np.zeros((5, 3, 3)), r"shape \(5, 3, 3\); needs rank 4.*images\[..., None\]"),
    "rank 2": (np.zeros((5, 9)), "needs rank 4"),
    "two channels": (np.zeros((5, 3, 3, 2)), "2 channels.*allowed: 1 .grey. or 3 .colour."),
    "int64": (np.zeros((5, 3, 3, 1), np.int64), "dtype int64; allowed: uint8"),
    "complex": (np.zeros((5, 3, 3, 1), np.complex64), "dtype complex64"),
    "text": (np.full((5, 3, 3, 1), "a"), "dtype <U1"),
    "empty": (np.zeros((0, 3, 3, 1)), "no images"),
    "no pixels": (np.zeros((5, 0, 3, 1)), "no images"),
    "one image": (np.zeros((1, 3, 3, 1)), "1 image; needs at least 3"),
    "two images": (np.zeros((2, 3, 3, 1)), "2 images; needs at least 3"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_array(tmp_path, name):
    images, message = BAD_ARRAYS[name]
    with pytest.raises(ValueError, match=message):
        data.load(save_npz(tmp_path, images))


def test_bad_npz(tmp_path):
    file = tmp_path / "file.npz"
    with pytest.raises(ValueError, match="no such file"):
        data.load(f"npz:{file}")
    np.savez(file, x=np.zeros(3))
    with pytest.raises(ValueError, match="holds x; needs an array named images"):
        data.load(f"npz:{file}")
    for content in (b"", b"no archive"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="file.npz cannot be read: it is no .npz file"):
            data.load(f"npz:{file}")
    np.save(tmp_path / "array.npy", grey(10))
    with pytest.raises(ValueError, match="array.npy cannot be read: it is no .npz file"):
        data.load(f"npz:{tmp_path / 'array.npy'}")
    np.savez(file, images=grey(10))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        data.load(f"npz:{file}")
    file.write_bytes(b"hello")
    with pytest.raises(ValueError):
        data.load(f"npz:{file}")
    np.savez(file, images=np.array([{}, {}]))
    with pytest.raises(ValueError):
        data.load(f"npz:{file}")


def test_labels_that_do_not_fit_are_refused(tmp_path):
    for wrong in (2**31, 2**32 + 1, -(2**31) - 1):
        np.savez(tmp_path / "images.npz", images=grey(10), labels=np.array([wrong] + [0] * 9))
        with pytest.raises(ValueError, match=rf"labels from .*{wrong}.*; allowed: those that fit int32"):
            data.load(f"npz:{tmp_path}/images.npz")


def test_no_path(tmp_path, monkeypatch):
    save_pictures(tmp_path, {f"{i}.png": Image.new("L", (4, 4)) for i in range(5)})
    monkeypatch.chdir(tmp_path)
    for spec in ("folder:", "npz:", "translated:folder:"):
        with pytest.raises(ValueError, match="has no path; needed is one after the colon, such as"):
            data.load(spec)


def test_bad_folder(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        data.load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(ValueError, match="holds no images"):
        data.load(f"folder:{tmp_path}")
    save_pictures(tmp_path, {f"{i}.png": Image.new("L", (4, 4)) for i in range(5)})
    data.load(f"folder:{tmp_path}")
    (tmp_path / "3.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"3\.png is empty \(0 bytes\)"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "3.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"3\.png cannot be read as an image"):
        data.load(f"folder:{tmp_path}")
    Image.fromarray(grey(1, size=64)[0, ..., 0]).save(tmp_path / "3.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"3\.png cannot be read as an image"):
        data.load(f"folder:{tmp_path}")
    Image.new("I;16", (4, 4)).save(tmp_path / "3.png")
    with pytest.raises(ValueError, match=r"3\.png has pixels of mode I"):
        data.load(f"folder:{tmp_path}")
    Image.new("L", (4, 5)).save(tmp_path / "3.png")
    with pytest.raises(ValueError, match=r"3\.png is 5x4 but .*0\.png is 4x4.*--image-size"):
        data.load(f"folder:{tmp_path}")


def test_unknown_names_suggest_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="unknown data 'mnits': did you mean 'mnist'"):
        data.load("mnits", data_dir=tmp_path)
    with pytest.raises(ValueError, match="unknown data 'digit': did you mean 'digits'"):
        data.load("digit", data_dir=tmp_path)
    with pytest.raises(ValueError, match="'mnist' is not prepared in .*--data-dir"):
        data.load("mnist", data_dir=tmp_path)


def test_image_size_of_what_is_not_resized():
    with pytest.raises(ValueError, match="only folder"):
        data.load("digits", image_size=(4, 4))


def test_fixed_images():
    images = np.tile(grey(50), (40, 1, 1, 1))
    for binarization in ("threshold", "dynamic"):
        fixed = data.fixed_images(images, binarization)
        assert fixed.dtype == np.float32 and set(np.unique(fixed)) == {0.0, 1.0}
        np.testing.assert_array_equal(fixed, data.fixed_images(images, binarization))
    assert (data.fixed_images(images, "threshold") == (images > 127)).all()
    assert abs(fixed.mean() - images.mean() / 255) < 4.5 * 0.5 / np.sqrt(images.size)
    for other in range(50, 2000, 50):  # the same images again, with other noise
        assert (fixed[:50] != fixed[other : other + 50]).any()
    assert (data.fixed_images(images, "dynamic", seed=1) != fixed).any()
    np.testing.assert_array_equal(data.fixed_images(images, "none"), images / np.float32(255))


def test_unknown_binarization():
    with pytest.raises(ValueError, match="binarization 'dinamic'; allowed: none, threshold, dynamic"):
        data.fixed_images(grey(), "dinamic")
