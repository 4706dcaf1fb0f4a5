"""What an artifact brings for TF Serving: requests and settings as TF Serving's own messages, and clients that draw over gRPC
and REST what the SavedModel draws.

No package registry carries TF Serving's binary. Two servers on loopback stand in for it: one speaks `tensorflow-serving-api`'s
PredictionService and merges requests that arrive together into one batch, as the binary does with the settings shipped here;
the other answers the binary's REST path. The loader of the binary is tested in test_cpp_loader.py.
"""

import concurrent.futures
import contextlib
import http.server
import json
import queue
import re
import runpy
import sys
import threading
import time

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

import export
import keras_gen as kg
from export import serving
from keras_gen.noise import CounterNoise
from tests.export.loopback import loopback

MAX_BATCH = 64
FILES = {
    *("models.config", "batching_parameters.txt", "docker-compose.yml", "request.json", "response.json"),
    *("client_grpc.py", "client_rest.py"),
}
MODELS = {
    "labels, no mean": lambda: kg.GAN((3, 3, 1), latent_dim=2, hidden_units=(8,), critic_units=(8,), num_classes=3),
    "impute": lambda: kg.SequentialImputer((4, 5, 3), steps=2, units=8, latent_dim=3),
}


@pytest.fixture(scope="module", params=["plain", *MODELS])
def shipped(request, tmp_path_factory):
    """An artifact with a SavedModel: of the shared model, of one with labels and a single output, of one with a method."""
    if request.param == "plain":
        return request.getfixturevalue("shared_artifact")
    keras.utils.set_random_seed(0)
    return export.export_generator(MODELS[request.param](), tmp_path_factory.mktemp("serving") / "model", "saved_model")


def settings(artifact):
    """The text of the files in `serving/`, by name."""
    return {path.name: path.read_text() for path in (artifact.path / "serving").iterdir()}


def client(artifact, kind):
    return runpy.run_path(str(artifact.path / f"serving/client_{kind}.py"))["predict"]


class Batches:
    """Runs requests of one signature that arrive within `wait` seconds as one batch of at most `MAX_BATCH` rows."""

    def __init__(self, function, wait, sizes):
        self.function, self.wait, self.sizes = function, wait, sizes
        self.queue = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, inputs):
        done = concurrent.futures.Future()
        self.queue.put((inputs, len(next(iter(inputs.values()))), done))
        return done.result(timeout=60)

    def _work(self):
        waiting = None
        while True:
            batch = [waiting or self.queue.get()]
            waiting, end = None, time.monotonic() + self.wait
            while (rows := sum(task[1] for task in batch)) < MAX_BATCH:
                try:
                    task = self.queue.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    break
                if rows + task[1] > MAX_BATCH:
                    waiting = task
                    break
                batch.append(task)
            self._run(batch)

    def _run(self, batch):
        try:
            merged = {name: tf.concat([inputs[name] for inputs, _, _ in batch], axis=0) for name in batch[0][0]}
            self.sizes.append([rows for _, rows, _ in batch])
            outputs = {name: value.numpy() for name, value in self.function(**merged).items()}
            ends = np.cumsum([rows for _, rows, _ in batch])
            for (_, rows, done), end in zip(batch, ends, strict=True):
                done.set_result({name: value[end - rows : end] for name, value in outputs.items()})
        except Exception as error:
            for _, _, done in batch:
                done.set_exception(error)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves an artifact as the model `generator` with server-side batching; `sizes` has the requests' rows of each batch."""

    def __init__(self, artifact, wait):
        self.loaded = tf.saved_model.load(str(artifact.path / "saved_model/1"))
        self.sizes = []
        self.signatures = {name: Batches(function, wait, self.sizes) for name, function in self.loaded.signatures.items()}

    def Predict(self, request, context):
        spec = request.model_spec
        if spec.name != "generator" or spec.signature_name not in self.signatures:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no signature {spec.signature_name!r} of a model {spec.name!r}")
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name, value in self.signatures[spec.signature_name](inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextlib.contextmanager
def grpc_server(artifact, wait=0.0):
    """(address, service) of a server on loopback."""
    server, service = grpc.server(concurrent.futures.ThreadPoolExecutor(16)), PredictionService(artifact, wait)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(artifact):
    """Address of a server on loopback that answers TF Serving's REST path, requests in columns only."""
    loaded = tf.saved_model.load(str(artifact.path / "saved_model/1"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            function = loaded.signatures.get(request.get("signature_name", "serving_default"))
            if self.path != "/v1/models/generator:predict" or function is None:
                return self.answer(404, {"error": f"Servable not found for request: {self.path}"})
            specs = function.structured_input_signature[1]
            if set(request["inputs"]) != set(specs):
                return self.answer(400, {"error": f"inputs are {sorted(specs)}"})
            inputs = {name: tf.constant(values, specs[name].dtype) for name, values in request["inputs"].items()}
            outputs = {name: value.numpy().tolist() for name, value in function(**inputs).items()}
            self.answer(200, {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))})

        def answer(self, status, content):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    with loopback(Handler) as address:
        yield address


def check_that_batching_changes_nothing(artifact, seeds):
    """Requests of 1 to 32 rows that a server ran as one batch of 64 get what each gets alone."""
    predict, rows = client(artifact, "grpc"), (1, 2, 5, 8, 16, 32)
    requests = np.split(seeds, np.cumsum(rows)[:-1])
    with grpc_server(artifact) as (address, service):
        alone = [predict(address, {"seed": request}) for request in requests]
        assert service.sizes == [[count] for count in rows]
    with grpc_server(artifact, wait=60.0) as (address, service), concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
        together = list(pool.map(lambda request: predict(address, {"seed": request}), requests))
        assert len(service.sizes) == 1 and sorted(service.sizes[0]) == sorted(rows)
    for request, expected, found in zip(requests, alone, together, strict=True):
        assert found["sample"].shape == (len(request), *artifact.manifest["model"]["data_shape"])
        np.testing.assert_array_equal(found["sample"], expected["sample"])
        if "mean" in expected:
            np.testing.assert_allclose(found["mean"], expected["mean"], atol=artifact.manifest["tolerance"])
    return alone


def test_requests_that_share_a_batch_get_what_each_gets_alone(shared_artifact, seeds):
    alone = check_that_batching_changes_nothing(shared_artifact, seeds)
    expected = shared_artifact.load("saved_model").generate(seeds)
    np.testing.assert_array_equal(np.concatenate([one["sample"] for one in alone]), expected["sample"])
    assert len({one.tobytes() for one in expected["sample"]}) == MAX_BATCH  # so that a mix-up of rows would show


def test_rows_that_depend_on_each_other_do_not_pass_for_ones_that_do_not(sampler, tmp_path, seeds):
    def generate(seed):
        noise = CounterNoise(seed).normal((8, 8, 1))
        return {"sample": tf.sigmoid(noise - tf.reduce_mean(noise, axis=0))}

    artifact = export.export_generator(sampler(generate), tmp_path / "cheat", "saved_model")
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check_that_batching_changes_nothing(artifact, seeds)


def test_warm_up_requests_run(shipped, seeds):
    path = shipped.path / "saved_model/1/assets.extra/tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    generator, signatures, found = shipped.load("saved_model"), tf.saved_model.load(str(path.parents[1])).signatures, []
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log" and log.ByteSize() == len(record)
        request = log.predict_log.request
        assert request.model_spec.name == "generator"
        name = request.model_spec.signature_name
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = signatures[name](**{name: tf.constant(value) for name, value in inputs.items()})
        expected = generator.generate(**inputs) if name == "serving_default" else generator.call(name, **inputs)
        assert set(outputs) == set(expected)
        for output, value in expected.items():
            np.testing.assert_array_equal(outputs[output], value)
        found.append((name, len(inputs["seed"])))
    assert found == [("serving_default", 1), ("serving_default", MAX_BATCH), *((name, 1) for name in shipped.methods)]
    assert set(signatures) == {name for name, _ in found}


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16383, 16384, 3_000_000])
def test_fields_are_those_of_protobuf(size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    field = serving._field(1, content)
    assert wrappers_pb2.BytesValue.FromString(field).value == content
    assert size == 0 or field == wrappers_pb2.BytesValue(value=content).SerializeToString()


def test_settings_are_those_of_tf_serving(shared_artifact):
    texts = settings(shared_artifact)
    assert set(texts) == FILES
    (config,) = text_format.Parse(texts["models.config"], model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == ("generator", "/models/generator", "tensorflow")
    batching = text_format.Parse(texts["batching_parameters.txt"], batching_parameters())
    assert batching.max_batch_size.value == MAX_BATCH and 0 < batching.batch_timeout_micros.value < 10_000
    assert batching.max_enqueued_batches.value > 10 and not batching.HasField("num_batch_threads")


def batching_parameters():
    """`tensorflow.serving.BatchingParameters`, which is not in tensorflow-serving-api, as in session_bundle_config.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, start=1):
        message.field.add(name=name, number=number, type=11, label=1, type_name=".google.protobuf.Int64Value")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.BatchingParameters"))()


def test_the_compose_file_gives_the_server_what_its_flags_name(shared_artifact):
    text, folder = settings(shared_artifact)["docker-compose.yml"], shared_artifact.path / "serving"
    assert "image: tensorflow/serving:" in text and "127.0.0.1:8500:8500" in text and "127.0.0.1:8501:8501" in text
    mounts = {
        inside: (folder / here).resolve() for here, inside in re.findall(r"^      - (\.\S*):(/\S+):ro$", text, re.MULTILINE)
    }
    flags = dict(re.findall(r"^      - --(\w+)=(\S+)$", text, re.MULTILINE))
    assert flags.pop("enable_batching") == "true" and set(flags) == {"model_config_file", "batching_parameters_file"}
    for inside in flags.values():
        parent, _, name = inside.rpartition("/")
        assert (mounts[parent] / name).is_file()
    assert (mounts["/models/generator"] / "1/saved_model.pb").is_file()  # the base path of models.config


def test_both_clients_draw_the_example(shipped, monkeypatch, capsys):
    texts, generator = settings(shipped), shipped.load("saved_model")
    request, outputs = json.loads(texts["request.json"]), json.loads(texts["response.json"])["outputs"]
    assert request["signature_name"] == "serving_default"
    drawn = generator.generate(**{name: np.array(values) for name, values in request["inputs"].items()})
    assert isinstance(outputs, dict) == (len(drawn) > 1)
    for name, values in (outputs if isinstance(outputs, dict) else {"sample": outputs}).items():
        np.testing.assert_array_equal(np.array(values, np.float32), drawn[name])
    with grpc_server(shipped) as (grpc_address, service), rest_server(shipped) as rest_address:
        for kind, address in (("grpc", grpc_address), ("rest", rest_address)):
            file = str(shipped.path / f"serving/client_{kind}.py")
            monkeypatch.setattr(sys, "argv", [file, address])
            runpy.run_path(file, run_name="__main__")
            lines = [f"{name} {list(value.shape)}: largest difference from response.json " for name, value in drawn.items()]
            printed = capsys.readouterr().out.splitlines()
            assert [line.rpartition(" ")[0] + " " for line in printed] == lines
            assert all(float(line.rpartition(" ")[2]) <= shipped.manifest["tolerance"] for line in printed)
        assert service.sizes == [[2]]


def test_clients_say_what_the_server_refused(shared_artifact):
    with grpc_server(shared_artifact) as (address, _), pytest.raises(grpc.RpcError, match="no signature 'impute'"):
        client(shared_artifact, "grpc")(address, {"seed": [[7, 0]]}, "impute")
    with (
        rest_server(shared_artifact) as address,
        pytest.raises(RuntimeError, match=r"refused the request: .*inputs are \['seed'"),
    ):
        client(shared_artifact, "rest")(address, {"inputs": {"label": [1]}})


@pytest.mark.parametrize("shipped", ["impute"], indirect=True)
def test_a_further_signature_is_served(shipped):
    draws = np.random.default_rng(0)
    inputs = {
        "image": draws.random((3, 4, 5, 3)).astype(np.float32),
        "mask": draws.integers(0, 2, (3, 4, 5, 1)).astype(np.float32),
        "seed": np.array([[7, 0], [7, 1], [7, 2]], np.int32),
    }
    expected = shipped.load("saved_model").impute(**inputs)
    with grpc_server(shipped) as (address, _), rest_server(shipped) as rest_address:
        found = client(shipped, "grpc")(address, inputs, "impute")
        lists = {name: value.tolist() for name, value in inputs.items()}
        rest = client(shipped, "rest")(rest_address, {"signature_name": "impute", "inputs": lists})
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
        np.testing.assert_array_equal(np.array(rest[name], np.float32), value)


def test_a_large_response_is_cut_to_its_first_lines():
    outputs = {"sample": np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float32)}
    values = np.array(serving._response(outputs)["outputs"], np.float32)
    np.testing.assert_array_equal(values, outputs["sample"][:, :1])


def test_a_refused_write_is_said(shared_artifact, tmp_path):
    with pytest.raises(export.ArtifactWriteError, match="could not be written: .*[Ff]ile name too long"):
        serving._write_warm_up(tmp_path / "assets.extra" / ("x" * 300), shared_artifact.signature, {}, 0)


def test_nothing_of_it_changes_between_exports_and_none_needs_tensorflow_serving(model, shared_artifact, tmp_path, monkeypatch):
    for package in ("grpc", "tensorflow_serving"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    again = export.export_generator(model, tmp_path / "another name", "saved_model")
    first, second = (
        {**one.manifest["formats"]["saved_model"]["files"], **one.manifest["other_files"]} for one in (shared_artifact, again)
    )
    written = {f"serving/{name}" for name in FILES} | {"saved_model/1/assets.extra/tf_serving_warmup_requests"}
    assert written <= set(first) and {name: first[name] for name in written} == {name: second[name] for name in written}


def test_what_was_altered_is_noticed(artifact):
    with open(artifact / "saved_model/1/assets.extra/tf_serving_warmup_requests", "ab") as file:
        file.write(b" ")
    with pytest.raises(export.DigestMismatchError, match="tf_serving_warmup_requests"):
        export.load(artifact, "saved_model")
    with open(artifact / "serving/models.config", "ab") as file:
        file.write(b" ")
    report = export.verify(artifact, num_seeds=1)
    assert [check.subject for check in report.checks if not check.ok] == ["others", "saved_model"], report.table()
