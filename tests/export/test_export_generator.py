"""What an export writes: the contract's files, names, shapes and values, and errors where it cannot."""

import hashlib
import json

import keras
import numpy as np
import onnx as onnx_package
import pytest
import tensorflow as tf

import export
import keras_gen
from export import compare, exporter, golden, onnx, saved_model, tflite
from export.methods import methods_of
from export.signature import Signature
from keras_gen.noise import CounterNoise

FORMATS = ("saved_model", "tflite", "onnx")


def test_the_folder_holds_what_the_contract_names(shared_artifact):
    found = {path.relative_to(shared_artifact.path).as_posix() for path in shared_artifact.path.rglob("*") if path.is_file()}
    single = {"generator.tflite", "generator.onnx", "manifest.json", "README.md", "samples.png"}
    assert single <= found
    assert {name for name in found - single if not name.startswith(("saved_model/1/", "serving/"))} == set()
    assert not list(shared_artifact.path.parent.glob(".*"))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_format_draws_what_the_model_draws(model, shared_artifact, seeds, draw, format, rows):
    expected = draw(model, seeds[:rows])
    found = export.load(shared_artifact.path, format).generate(seeds[:rows])
    assert list(found) == ["sample", "mean"]
    for name, value in found.items():
        assert value.dtype == np.float32 and value.shape == (rows, 8, 8, 1)
        np.testing.assert_allclose(value, expected[name], atol=compare.TOLERANCE)
    assert found["mean"].min() >= 0 and found["mean"].max() <= 1 and set(np.unique(found["sample"])) <= {0, 1}


def test_manifest_says_what_the_contract_says(shared_artifact):
    manifest = json.loads((shared_artifact.path / "manifest.json").read_text())
    assert manifest["manifest_version"] == 2 and manifest["family"] == "VAE" and manifest["name"] == "vae-tiny"
    assert manifest["signature"]["inputs"] == [{"name": "seed", "dtype": "int32", "shape": ["batch", 2]}]
    assert [output["name"] for output in manifest["signature"]["outputs"]] == ["sample", "mean"]
    assert manifest["sample"] == {"values": "binary", "step": 1.0, "stream": 1}
    for format in FORMATS:
        record = manifest["formats"][format]
        for name, recorded in record["files"].items():
            content = (shared_artifact.path / name).read_bytes()
            assert recorded == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert record["bytes"] == sum(recorded["bytes"] for recorded in record["files"].values())
    assert manifest["formats"]["onnx"]["sha256"] == manifest["formats"]["onnx"]["files"]["generator.onnx"]["sha256"]
    assert "MatMul" in manifest["formats"]["onnx"]["operators"] or "Gemm" in manifest["formats"]["onnx"]["operators"]
    assert "FULLY_CONNECTED" in manifest["formats"]["tflite"]["operators"]
    records = manifest["golden"]["seeds"]
    assert len(records) == 4 and min(min(record["seed"]) for record in records) < 0
    assert {"tensorflow", "keras", "numpy", "onnxruntime", "ai-edge-litert"} <= set(manifest["versions"])
    assert len(manifest["recipe_sha256"]) == 64 and manifest["evaluation"]["log_likelihood"]["standard_error"] == 0.25


def test_where_no_seed_is_clear_of_a_threshold_all_but_the_sample_is_recorded(model):
    outputs = {name: value.numpy() for name, value in model.generate(golden.CANDIDATES).items()}
    kind = compare.SampleKind.of_draws(golden.CANDIDATES, outputs)
    records = golden.records(outputs, kind, tolerance=0.2)
    assert len(records) == golden.NUM_SEEDS and not any("sample_sha256" in record for record in records)
    drawn = {name: value[:1] for name, value in outputs.items()}
    assert golden.problems(records[0], drawn, kind, 0.2) == []
    assert golden.problems(records[0], {**drawn, "mean": drawn["mean"] + 0.3}, kind, 0.2)
    # Where the draw is clear of thresholds the digest may not be missing.
    (clear, *_) = golden.records(outputs, kind)
    (place,) = np.flatnonzero((clear["seed"] == golden.CANDIDATES).all(axis=1))
    del clear["sample_sha256"]
    drawn = {name: value[place : place + 1] for name, value in outputs.items()}
    assert golden.problems(clear, drawn, kind, 1e-5) == ["sample digest"]


def test_saved_model_has_the_signature(shared_artifact):
    function = tf.saved_model.load(str(shared_artifact.path / "saved_model/1")).signatures["serving_default"]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in function.structured_input_signature[1].items()} == {
        "seed": (tf.int32, [None, 2])
    }
    assert {name: spec.shape.as_list() for name, spec in function.structured_outputs.items()} == {
        "sample": [None, 8, 8, 1],
        "mean": [None, 8, 8, 1],
    }


def test_only_the_generators_weights_are_shipped_and_once(model, shared_artifact):
    stored = tf.train.list_variables(str(shared_artifact.path / "saved_model/1/variables/variables"))
    sizes = sorted(int(np.prod(shape)) for name, shape in stored if name.endswith("VARIABLE_VALUE"))
    assert sizes == sorted(int(np.prod(variable.shape)) for variable in model.generator.variables)


def test_a_saved_model_has_the_step_of_a_sequential_model_once(tmp_path):
    written = {}
    for steps in (4, 16):
        model = keras_gen.DRAW((8, 8, 1), steps=steps, units=12, latent_dim=3, attention="soft", read_size=3, seed=0)
        seed = np.zeros((1, 2), np.int32)
        outputs = {name: np.asarray(value) for name, value in model.generate(seed).items()}
        signature, folder = Signature.of_outputs(outputs), tmp_path / str(steps)
        saved_model.write(model, signature, folder, methods=methods_of(model, seed))
        content = (folder / "saved_model.pb").read_bytes()
        assert b"RestoreV2" in content and b"SaveV2" not in content  # nobody saves a shipped sampler's weights again
        written[steps] = len(content)
    # A step is a call in each of two signatures, and what of the noise is its own.
    assert written[16] - written[4] < 12 * 1_000
    assert written[16] < 56_000


def test_tflite_has_both_signatures(model, shared_artifact, seeds, draw):
    path = shared_artifact.path / "generator.tflite"
    single = tflite.read(path, tflite.SINGLE)
    assert single.signature == shared_artifact.signature
    expected = draw(model, seeds[:1])
    np.testing.assert_allclose(single.generate(seeds[:1])["mean"], expected["mean"], atol=compare.TOLERANCE)
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner("single")
    assert list(runner.get_input_details()["seed"]["shape"]) == [1, 2]
    assert list(runner.get_output_details()["mean"]["shape_signature"]) == [1, 8, 8, 1]


def test_onnx_names_its_batch_axis_and_uses_opset_18(shared_artifact):
    proto = onnx_package.load(str(shared_artifact.path / "generator.onnx"))
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 18)]
    assert [value.name for value in proto.graph.input] == ["seed"]
    assert [value.name for value in proto.graph.output] == ["sample", "mean"]
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert all(node.domain == "" for node in proto.graph.node)


def test_some_formats_only(model, tmp_path):
    artifact = export.export_generator(model, tmp_path / "one", formats=("onnx",), name="digits")
    assert artifact.formats == ("onnx",) and artifact.manifest["name"] == "digits"
    assert not (tmp_path / "one/saved_model").exists() and not (tmp_path / "one/generator.tflite").exists()
    assert export.verify(tmp_path / "one", num_seeds=8).ok


def test_the_check_catches_one_perturbed_weight(model, shared_artifact, tmp_path, sampler):
    kind = compare.SampleKind(**shared_artifact.manifest["sample"])
    weight = model.generator.variables[-1]
    original = weight.numpy()
    try:
        weight.assign(original + 1e-3)
        with pytest.raises(export.ExportMismatchError, match="onnx.*mean: largest difference 0.00"):
            exporter.check_draws("onnx", [export.load(shared_artifact.path, "onnx")], model, kind)
    finally:
        weight.assign(original)
    exporter.check_draws("onnx", [export.load(shared_artifact.path, "onnx")], model, kind)


def test_the_check_catches_weights_lost_behind_keras_layers(model, shared_artifact, tmp_path):
    """The obvious way to save: the module holds the layer, not its tf.Variables. The TFLite file then draws, silently, from
    memory that nothing has written: NaN at times, at times grey images."""
    module = tf.Module()
    module.generator = model.generator
    function = saved_model.sampler(model, shared_artifact.signature)
    kind = compare.SampleKind(**shared_artifact.manifest["sample"])
    with saved_model.quiet():
        tf.saved_model.save(module, str(tmp_path / "1"), signatures=function.get_concrete_function())
        content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "1")).convert()
    (tmp_path / "lost.tflite").write_bytes(content)
    with pytest.raises(export.ExportMismatchError, match=r"tflite.*mean: largest difference (inf|0\.[1-9])"):
        exporter.check_draws("tflite", [tflite.read(tmp_path / "lost.tflite")], model, kind)


def test_an_unnamed_batch_axis_is_refused(shared_artifact, tmp_path):
    proto = onnx_package.load(str(shared_artifact.path / "generator.onnx"))
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "unk__455"
    onnx_package.save(proto, str(tmp_path / "g.onnx"))
    with pytest.raises(export.SignatureError, match="sample.*'batch'"):
        onnx.read(tmp_path / "g.onnx")


def test_a_stateful_sampler_is_a_mismatch(sampler, tmp_path):
    model = sampler(lambda seed: {"sample": tf.random.uniform((tf.shape(seed)[0], 8, 8, 1))})
    with pytest.raises(export.ExportMismatchError, match="onnx|tflite|saved_model"):
        export.export_generator(model, tmp_path / "stateful", formats=("saved_model",))
    assert not list(tmp_path.iterdir())


def test_operators_that_a_runtime_lacks_are_named(sampler, tmp_path):
    model = sampler(lambda seed: {"sample": tf.math.erfinv(CounterNoise(seed).uniform((8, 8, 1)) * 0.5)})
    for format in ("tflite", "onnx"):
        with pytest.raises(export.OperatorError, match=f"{format}.*Erfinv"):
            export.export_generator(model, tmp_path / "erfinv", formats=(format,))
    assert not list(tmp_path.iterdir())


def test_variables_outside_the_generator_are_refused(sampler, tmp_path):
    weight = keras.Variable(np.ones((8, 8, 1), np.float32) / 2)
    model = sampler(lambda seed: {"sample": CounterNoise(seed).uniform((8, 8, 1)) * weight.value})
    with pytest.raises(export.ConversionError, match="generator.variables"):
        export.export_generator(model, tmp_path / "outside", formats=("saved_model",))
    assert not list(tmp_path.iterdir())


def test_other_output_names_are_refused(sampler, tmp_path):
    model = sampler(lambda seed: {"image": CounterNoise(seed).uniform((8, 8, 1))})
    with pytest.raises(export.SignatureError, match="image.*sample float32"):
        export.export_generator(model, tmp_path / "names")
    assert not list(tmp_path.iterdir())


def test_continuous_samples_without_a_mean(sampler, tmp_path):
    model = sampler(lambda seed: {"sample": tf.sigmoid(CounterNoise(seed).normal((3, 3, 3)))})
    model.data_shape = (3, 3, 3)
    artifact = export.export_generator(model, tmp_path / "continuous")
    assert artifact.manifest["sample"]["values"] == "continuous"
    assert [output.name for output in artifact.signature.outputs] == ["sample"]
    assert export.verify(tmp_path / "continuous", num_seeds=64).ok


def test_signature_survives_json(shared_artifact):
    signature = shared_artifact.signature
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


def test_foreign_onnx_operators_are_named(shared_artifact, tmp_path):
    proto = onnx_package.load(str(shared_artifact.path / "generator.onnx"))
    proto.graph.node[0].domain = "com.microsoft"
    onnx_package.save(proto, str(tmp_path / "g.onnx"))
    with pytest.raises(export.OperatorError, match=f"com.microsoft.{proto.graph.node[0].op_type}"):
        onnx.operators(tmp_path / "g.onnx")


def looped(weight, step):
    """A canvas written in a `tf.while_loop`, as recurrent generators do."""

    def generate(seed):
        start = CounterNoise(seed).normal((8,))
        _, state = tf.while_loop(lambda t, _: t < 5, lambda t, state: (t + 1, step(state @ weight.value)), (0, start))
        return {"sample": tf.reshape(tf.sigmoid(tf.repeat(state, 8, axis=1)), (-1, 8, 8, 1))}

    return generate


def test_weights_inside_a_loop(sampler, tmp_path):
    weight = keras.Variable(np.random.default_rng(0).normal(0, 0.5, (8, 8)).astype(np.float32))
    artifact = export.export_generator(sampler(looped(weight, tf.tanh), [weight]), tmp_path / "loop")
    assert "WHILE" in artifact.manifest["formats"]["tflite"]["operators"]
    assert {"Loop", "Tanh"} <= set(artifact.manifest["formats"]["onnx"]["operators"])
    assert export.verify(tmp_path / "loop", num_seeds=64).ok


def test_operators_inside_a_loop_are_checked(sampler, tmp_path):
    weight = keras.Variable(np.eye(8, dtype=np.float32))
    model = sampler(looped(weight, lambda state: tf.math.lgamma(2.0 + tf.abs(state))), [weight])
    with pytest.raises(export.OperatorError, match="onnx.*Lgamma"):
        export.export_generator(model, tmp_path / "loop", formats="onnx")
    # TFLite's converter spells it out in builtins that then do not run.
    with pytest.raises(export.RunFailedError, match="tflite.*WHILE"):
        export.export_generator(model, tmp_path / "loop", formats="tflite")
    assert not list(tmp_path.iterdir())
