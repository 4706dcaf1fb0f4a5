"""What a model ships beside `generate`: `sequence` and `impute`, in every format."""

import shutil

import keras
import numpy as np
import pytest

import export
import keras_gen as kg
from export import exporter
from export.compare import SampleKind
from export.methods import examples, methods_of

MODELS = {
    "DRAW": lambda: kg.DRAW((5, 6, 1), steps=3, units=8, latent_dim=3, attention="soft", read_size=2, write_size=3),
    "SequentialGenerator": lambda: kg.SequentialGenerator((4, 5, 3), steps=3, units=8, latent_dim=3, canvas="jump"),
    "SequentialImputer": lambda: kg.SequentialImputer((4, 5, 3), steps=3, units=8, latent_dim=3, network="lstm", drop_rate=0.5),
}
NAMES = {"DRAW": "sequence", "SequentialGenerator": "sequence", "SequentialImputer": "impute"}


@pytest.fixture(scope="module", params=sorted(MODELS))
def shipped(request, tmp_path_factory):
    """(model, artifact, name of its method)."""
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    for weight in model.generator.trainable_variables:
        weight.assign(np.random.default_rng(len(weight.shape)).normal(0, 0.5, weight.shape))
    return model, export.export_generator(model, tmp_path_factory.mktemp("methods") / "model"), NAMES[request.param]


def test_every_format_does_what_the_model_does(shipped, seeds):
    model, artifact, name = shipped
    method = methods_of(model, seeds)[name]
    inputs = examples(method.signature, seeds)
    expected = method(inputs)
    assert artifact.methods == {name: method.signature}
    for format in export.FORMATS:
        generator = export.load(artifact.path, format=format)
        found = getattr(generator, name)(**inputs)
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert value.dtype == np.float32 and value.shape == expected[key].shape
            if key != "sample":  # a pixel at its threshold may flip
                np.testing.assert_allclose(value, expected[key], atol=1e-5)
        np.testing.assert_allclose(found.get("sample", 0), expected.get("sample", 0), atol=1e-5)
        one = getattr(generator, name)(*(inputs[spec.name][9:10] for spec in method.signature.inputs))  # by position
        for key, value in one.items():
            np.testing.assert_allclose(value[0], found[key][9], atol=1e-6)
        nothing = generator.call(name, **{key: value[:0] for key, value in inputs.items()})
        assert {key: value.shape for key, value in nothing.items()} == {
            key: (0, *value.shape[1:]) for key, value in expected.items()
        }
    report = export.verify(artifact.path, num_seeds=16)
    assert report.ok and sum(check.name == f"{name}: formats agree" for check in report.checks) == 3, report.table()


def test_sequences_end_in_the_mean_and_imputed_images_keep_what_is_known(shipped, seeds):
    model, artifact, name = shipped
    for format in export.FORMATS:
        generator = artifact.load(format)
        if name == "sequence":
            film = generator.sequence(seeds)["sequence"]
            assert film.shape == (64, 3, *model.data_shape)
            np.testing.assert_allclose(film[:, -1], generator.generate(seeds)["mean"], atol=1e-6)
            assert np.abs(film[:, 0] - film[:, -1]).max() > 1e-2
        else:
            image = np.random.default_rng(0).random((64, *model.data_shape)).astype(np.float32)
            mask = np.random.default_rng(1).integers(0, 2, (64, 4, 5, 1)).astype(np.float32)
            known = np.broadcast_to(mask == 1, image.shape)
            for drawn in generator.impute(image, mask, seeds).values():
                np.testing.assert_array_equal(drawn[known], image[known])
            blind = np.where(known, image, 1 - image)  # what stands at unknown pixels is not looked at
            np.testing.assert_array_equal(generator.impute(blind, mask, seeds)["mean"], drawn)
            nothing = generator.impute(image, np.zeros_like(mask), seeds)
            np.testing.assert_allclose(nothing["mean"], generator.generate(seeds)["mean"], atol=1e-6)


def test_where_the_files_are(shipped):
    _, artifact, name = shipped
    formats = artifact.manifest["formats"]
    assert list(formats["onnx"]["files"]) == ["generator.onnx", f"{name}.onnx"]
    assert formats["onnx"]["bytes"] == sum((artifact.path / file).stat().st_size for file in formats["onnx"]["files"])
    assert formats["tflite"]["signatures"] == ["serving_default", "single", name]
    bare = export.load(artifact.path / "generator.tflite")  # a file tells its signatures by itself
    assert bare.methods[name][0] == artifact.methods[name]
    card = (artifact.path / "README.md").read_text()
    assert f"`{name}.onnx`" in card and ("no conditioning on a given image" in card) == (name != "impute")
    assert artifact.manifest["tolerance"] == 1e-4


def test_a_damaged_method_is_found_out(shipped, tmp_path, seeds):
    model, artifact, name = shipped
    path = shutil.copytree(artifact.path, tmp_path / "copy")
    file = path / f"{name}.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(export.DigestMismatchError, match=f"{name}.onnx"):
        export.load(path, format="onnx")
    assert [check.subject for check in export.verify(path, num_seeds=2).checks if not check.ok] == ["onnx"]
    # A file that does something else than the model is not shipped.
    method = methods_of(model, seeds)[name]
    for format in export.FORMATS:
        generator = artifact.load(format)
        exporter.check_methods(format, generator, {name: method}, SampleKind("binary", 1.0), 1e-4)
        signature, run = generator.methods[name]

        def worse(*inputs, run=run):
            return {key: np.where(np.arange(value.shape[1])[:, None, None] == 0, value + 1e-3, value)
                    if value.ndim == 4 else value + 1e-3 for key, value in run(*inputs).items()}  # fmt: skip

        generator.methods[name] = (signature, worse)
        with pytest.raises(export.ExportMismatchError, match=f"{format}: {name}"):
            exporter.check_methods(format, generator, {name: method}, SampleKind("binary", 1.0), 1e-4)


def test_bad_inputs_are_refused_before_they_reach_a_runtime(shipped, seeds):
    _, artifact, name = shipped
    generator = artifact.load("tflite")
    with pytest.raises(export.SignatureError, match="no signature 'paint'"):
        generator.call("paint", seeds)
    with pytest.raises(AttributeError, match="paint"):
        generator.paint(seeds)
    with pytest.raises(export.InputError, match="given was nothing"):
        generator.call(name)
    with pytest.raises(export.SeedError, match="float64"):
        generator.call(name, **{**examples(artifact.methods[name], seeds), "seed": np.zeros((64, 2))})
    if name == "impute":
        good = examples(artifact.methods[name], seeds)
        for change, message in (
            ({"mask": good["mask"] * 0.5}, "besides 0 and 1"),
            ({"mask": good["mask"][..., 0]}, r"mask has shape \[64, 4, 5\]"),
            ({"mask": good["mask"][:3]}, r"mask has shape \[3, 4, 5, 1\]"),
            ({"image": good["image"].astype(complex)}, "complex128"),
            ({"image": good["image"] + 0.5}, r"no numbers in \[0, 1\]"),
            ({"image": np.full_like(good["image"], np.nan)}, r"no numbers in \[0, 1\]"),
        ):
            with pytest.raises(export.InputError, match=message):
                generator.impute(**{**good, **change})
        with pytest.raises(export.InputError, match="takes image .* given was image, seed"):
            generator.impute(image=good["image"], seed=seeds)


def test_other_models_have_no_further_signature(shared_artifact, seeds):
    assert shared_artifact.methods == {} and "methods" not in shared_artifact.manifest
    assert shared_artifact.manifest["tolerance"] == 1e-5
    for format in export.FORMATS:
        generator = shared_artifact.load(format)
        assert generator.methods == {}
        with pytest.raises(export.SignatureError, match="it has none"):
            generator.call("sequence", seeds)
