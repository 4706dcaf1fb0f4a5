"""What samplers are held against: the same decoder, its noise an input."""

import numpy as np
import tensorflow as tf

from benchmarks import samplers
from keras_gen.noise import CounterNoise
from tests.models import MODELS, SHAPE


def test_given_the_numbers_of_a_seed_the_decoder_draws_its_image(seeds=((7, 0), (-1, 3))):
    model = MODELS["vae"](seed=0)
    fed, noise = samplers._Fed(model), CounterNoise(np.array(seeds, np.int32))
    numbers = tf.concat([noise.normal((4,)), tf.reshape(noise.uniform(SHAPE), (2, -1))], axis=-1)
    size, outputs = fed.look(np.array(seeds[:1], np.int32))
    assert size == numbers.shape[1] and {spec.name: spec.row_shape for spec in outputs} == {"mean": SHAPE, "sample": SHAPE}
    for name, drawn in fed.generate(numbers).items():
        np.testing.assert_array_equal(drawn, model.generate(np.array(seeds, np.int32))[name])


def test_a_conditional_decoder_takes_its_label_first():
    model = MODELS["dcgan_conditional"](seed=0)
    seeds, labels = np.array([[7, 0], [7, 1]], np.int32), np.array([2, 0], np.int32)
    numbers = model.generator.latents(CounterNoise(seeds))
    drawn = samplers._Fed(model).generate(labels, (numbers / np.sqrt(3) + 1) / 2)["sample"]
    np.testing.assert_allclose(drawn, model.generate(seeds, labels)["sample"], atol=1e-5)


def test_a_row_for_each_runtime():
    own = {"bytes": 1_100_000, "ms_one": 0.5, "images_a_second": 1e3, "noise_one": 1.25, "noise_many": 1.5}
    own |= {"cold_seconds": 0.4, "peak_bytes": 2**26}
    sampler = {
        "weights_bytes": 1_000_000,
        "largest_difference": 1e-7,
        "formats": {"onnx": own, "tflite": {**own, "float16_bytes": 572_000, "int8_bytes": 308_000}},
    }
    machine = {"date": "today", "cores": 2, "cpu": "x"}
    text = samplers.markdown({"machine": machine, "seeds": 256, "samplers": {"VAE": sampler}})
    assert "| VAE | 1000 | 1.0e-07 | LiteRT | 1100 | 100 | 52.0%, 28.0% | 0.50 |" in text
    assert "| VAE | 1000 | 1.0e-07 | ONNX Runtime | 1100 | 100 |  | 0.50 | 1000 | 1.25, 1.50 | 0.40 | 64 |" in text
