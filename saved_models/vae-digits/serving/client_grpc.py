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


def predict(address, inputs, signature_name="serving_default"):
    """What the server draws, a dict of arrays [B, ...]; `inputs` is one of arrays or lists, integers as int32."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "generator", signature_name
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    options = [("grpc.max_receive_message_length", -1)]  # A batch of large images has more than gRPC's 4 MB.
    with grpc.insecure_channel(address, options) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


if __name__ == "__main__":
    request, example = (json.loads(Path(__file__).with_name(f"{name}.json").read_text()) for name in ("request", "response"))
    drawn = predict(sys.argv[1] if len(sys.argv) > 1 else "localhost:8500", request["inputs"], request["signature_name"])
    outputs = example["outputs"]
    for name, values in (outputs if isinstance(outputs, dict) else {"sample": outputs}).items():
        difference = np.abs(drawn[name][:, : len(values[0])] - values).max()  # response.json may be cut to the first lines.
        print(f"{name} {list(drawn[name].shape)}: largest difference from response.json {difference:.2g}")
