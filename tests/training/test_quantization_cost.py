"""What quantised weights cost, in the figure that a model is judged by."""

import types

import keras
import numpy as np
import pytest

from tests.models import MODELS
from training.quantization_cost import quantization_cost

pytest.importorskip("ai_edge_quantizer", reason="ai-edge-quantizer is in requirements.txt but is not installed")


def test_the_bound_that_is_lost_is_measured_with_the_weights_of_the_file(monkeypatch):
    keras.utils.set_random_seed(0)
    model = MODELS["vae"](seed=0)
    before = [variable.numpy() for variable in model.variables]
    images = np.random.default_rng(0).integers(0, 256, (20, *model.data_shape)).astype(np.uint8)
    data = types.SimpleNamespace(name="digits", test=images)
    monkeypatch.setattr("training.quantization_cost._BATCH", 10)
    costs = {scheme: quantization_cost(model, scheme, data, {"binarization": "threshold"}) for scheme in ("float16", "int8")}
    assert 0 < abs(costs["float16"]["value"]) < abs(costs["int8"]["value"]) < 0.1
    assert costs["int8"]["unit"] == "nats an image" and costs["int8"]["standard_error"] > 0
    assert all(np.array_equal(variable, value) for variable, value in zip(model.variables, before, strict=True))
