"""What TF Serving wants beside a SavedModel: warm-up requests inside it, and a folder `serving/` to start and to try a server.

The requests of `saved_model/1/assets.extra/tf_serving_warmup_requests` are run by the server before it reports a version as
ready, so that no user waits for the first call of each signature. `serving/` holds the server's settings, a `docker compose`
file, a request with what the model draws for it, and a client each for gRPC and REST.

`tensorflow-serving-api` is not needed to export: the three messages around a TensorProto are put on protobuf's wire here.
"""

import json
from pathlib import Path

import numpy as np

from export.errors import ArtifactWriteError
from export.methods import examples
from export.saved_model import FILE, first_line
from export.signature import FREE_BATCH, example_inputs

FOLDER = "serving"
WARM_UP = f"{FILE}/assets.extra/tf_serving_warmup_requests"
MODEL = "generator"
MAX_BATCH = 64
_SEEDS = np.array([[7, index] for index in range(MAX_BATCH)], np.int32)
_NUM_VALUES = 512

_MODELS = f"""\
model_config_list {{
  config {{
    name: "{MODEL}"
    base_path: "/models/{MODEL}"
    model_platform: "tensorflow"
  }}
}}
"""

_BATCHING = f"""\
# Rows of one batch, and so of one request: a server that batches refuses a request with more.
max_batch_size {{ value: {MAX_BATCH} }}
# How long a request waits for others to share its batch.
batch_timeout_micros {{ value: 2000 }}
# Batches that may wait; a request beyond them is refused at once. num_batch_threads is left to be the number of cores.
max_enqueued_batches {{ value: 100 }}
"""

_COMPOSE = f"""\
# TF Serving, gRPC on port 8500 and REST on 8501 of this machine: docker compose up
# manifest.json has the digests of this folder. To change a setting, add a compose file of your own with a second -f.
services:
  {MODEL}:
    image: tensorflow/serving:${{TF_SERVING_TAG:-latest}}
    ports:
      - 127.0.0.1:8500:8500
      - 127.0.0.1:8501:8501
    volumes:
      - ../saved_model:/models/{MODEL}:ro
      - .:/serving:ro
    command:
      - --model_config_file=/serving/models.config
      - --enable_batching=true
      - --batching_parameters_file=/serving/batching_parameters.txt
"""

_CLIENT_GRPC = f'''\
"""Draws what request.json asks for over gRPC, and compares it with response.json: python client_grpc.py [HOST:PORT]

Needs tensorflow-serving-api.
"""

import json
import sys
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def predict(address, inputs, signature_name="{FREE_BATCH}"):
    """What the server draws, a dict of arrays [B, ...]; `inputs` is one of arrays or lists, integers as int32."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "{MODEL}", signature_name
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    options = [("grpc.max_receive_message_length", -1)]  # A batch of large images has more than gRPC's 4 MB.
    with grpc.insecure_channel(address, options) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    return {{name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}}


if __name__ == "__main__":
    request, example = (json.loads(Path(__file__).with_name(f"{{name}}.json").read_text()) for name in ("request", "response"))
    drawn = predict(sys.argv[1] if len(sys.argv) > 1 else "localhost:8500", request["inputs"], request["signature_name"])
    outputs = example["outputs"]
    for name, values in (outputs if isinstance(outputs, dict) else {{"sample": outputs}}).items():
        difference = np.abs(drawn[name][:, : len(values[0])] - values).max()  # response.json may be cut to the first lines.
        print(f"{{name}} {{list(drawn[name].shape)}}: largest difference from response.json {{difference:.2g}}")
'''

_CLIENT_REST = f'''\
"""Draws what request.json asks for over REST, and compares it with response.json: python client_rest.py [HOST:PORT]"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np


def predict(address, request):
    """What the server draws: a dict of lists [B, ...] or, where the signature has one output only, its list.

    `request` is a dict: `inputs`, a list for each name, and the `signature_name`.
    """
    url = f"http://{{address}}/v1/models/{MODEL}:predict"
    try:
        with urllib.request.urlopen(url, json.dumps(request).encode(), timeout=60) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{{url}} refused the request: {{error.read().decode()}}") from error


if __name__ == "__main__":
    request, example = (json.loads(Path(__file__).with_name(f"{{name}}.json").read_text()) for name in ("request", "response"))
    drawn, outputs = predict(sys.argv[1] if len(sys.argv) > 1 else "localhost:8501", request), example["outputs"]
    if not isinstance(outputs, dict):
        drawn, outputs = {{"sample": drawn}}, {{"sample": outputs}}
    for name, values in outputs.items():
        found = np.array(drawn[name])
        difference = np.abs(found[:, : len(values[0])] - values).max()  # response.json may be cut to the first lines.
        print(f"{{name}} {{list(found.shape)}}: largest difference from response.json {{difference:.2g}}")
'''


def write(root, generator, methods, num_classes=0):
    """Writes the warm-up requests into the SavedModel under the folder `root`, and `serving/` beside it.

    Args:
        root: the artifact's folder, with the SavedModel in it.
        generator: the `LoadedGenerator` that was read from it; draws the response.
        methods: name to `Method`: its further signatures.
        num_classes: of the generator's labels; 0 for none.

    Raises:
        ArtifactWriteError: the file system refused.
    """
    root = Path(root)
    _write_warm_up(root / WARM_UP, generator.signature, methods, num_classes)
    inputs = example_inputs(_SEEDS[:2], num_classes)
    request = {
        "signature_name": FREE_BATCH,
        "inputs": {spec.name: value.tolist() for spec, value in zip(generator.signature.inputs, inputs, strict=True)},
    }
    contents = {
        "models.config": _MODELS,
        "batching_parameters.txt": _BATCHING,
        "docker-compose.yml": _COMPOSE,
        "request.json": json.dumps(request) + "\n",
        "response.json": json.dumps(_response(generator.generate(*inputs))) + "\n",
        "client_grpc.py": _CLIENT_GRPC,
        "client_rest.py": _CLIENT_REST,
    }
    (root / FOLDER).mkdir()
    for name, text in contents.items():
        (root / FOLDER / name).write_text(text, encoding="utf-8")


def _response(outputs):
    """TF Serving's answer over REST, of each image the first lines that make no more than 512 numbers."""
    rows, _, width, channels = outputs["sample"].shape
    lines = max(1, _NUM_VALUES // (rows * width * channels))
    # Through text: the shortest decimal that is the same float32, as the server writes it.
    numbers = {name: value[:, :lines].astype(str).astype(np.float64).tolist() for name, value in outputs.items()}
    return {"outputs": numbers if len(numbers) > 1 else numbers["sample"]}  # The server leaves a single output's name out.


def _write_warm_up(path, signature, methods, num_classes):
    """Writes a TFRecord for each request: one row, a full batch, and one row of each further signature."""
    import tensorflow as tf

    names = [spec.name for spec in signature.inputs]
    requests = [
        (FREE_BATCH, dict(zip(names, example_inputs(_SEEDS[:rows], num_classes), strict=True))) for rows in (1, MAX_BATCH)
    ]
    requests += [(name, examples(method.signature, _SEEDS[:1])) for name, method in methods.items()]
    path.parent.mkdir()
    try:
        with tf.io.TFRecordWriter(str(path)) as file:
            for name, inputs in requests:
                file.write(_prediction_log(name, inputs))
    except tf.errors.OpError as error:
        raise ArtifactWriteError(f"{path} could not be written: {first_line(error)}") from error


def _prediction_log(signature_name, inputs):
    """A serialised `tensorflow.serving.PredictionLog` that holds one request: numbers of fields as in TF Serving's .proto."""
    import tensorflow as tf

    model_spec = _field(1, MODEL.encode()) + _field(3, signature_name.encode())
    request = _field(1, model_spec)
    for name, value in inputs.items():
        request += _field(2, _field(1, name.encode()) + _field(2, tf.make_tensor_proto(value).SerializeToString()))
    return _field(6, _field(1, request))  # PredictionLog.predict_log.request


def _field(number, content):
    """A field of protobuf's wire format that has a length: a string, bytes or a message."""
    length, size = len(content), b""
    while length >= 128:
        size += bytes([length % 128 + 128])
        length //= 128
    return bytes([8 * number + 2]) + size + bytes([length]) + content
