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
    url = f"http://{address}/v1/models/generator:predict"
    try:
        with urllib.request.urlopen(url, json.dumps(request).encode(), timeout=60) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} refused the request: {error.read().decode()}") from error


if __name__ == "__main__":
    request, example = (json.loads(Path(__file__).with_name(f"{name}.json").read_text()) for name in ("request", "response"))
    drawn, outputs = predict(sys.argv[1] if len(sys.argv) > 1 else "localhost:8501", request), example["outputs"]
    if not isinstance(outputs, dict):
        drawn, outputs = {"sample": drawn}, {"sample": outputs}
    for name, values in outputs.items():
        found = np.array(drawn[name])
        difference = np.abs(found[:, : len(values[0])] - values).max()  # response.json may be cut to the first lines.
        print(f"{name} {list(found.shape)}: largest difference from response.json {difference:.2g}")
