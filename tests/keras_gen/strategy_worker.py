"""Trains a small VAE and small games under a strategy.

As a program it prints what came of it as JSON, since devices are set at start-up.

    python strategy_worker.py mirrored|multi_worker BATCH_SIZE
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_gen as kg


def strategy_named(name):
    if name == "mirrored":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return tf.distribute.MultiWorkerMirroredStrategy() if name == "multi_worker" else tf.distribute.get_strategy()


def build(strategy, optimizer):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = kg.VAE(data_shape=(4, 4, 1), latent_dim=2, hidden_units=(8,), seed=0)
        model.compile(optimizer=optimizer())
    return model


def updates_of_one_step(strategy, images, count):
    """The weights after one step of gradient descent from the same start, under `count` seeds of the noise."""
    model = build(strategy, lambda: keras.optimizers.SGD(1.0))
    data = tf.data.Dataset.from_tensor_slices(images).batch(len(images))
    start = [weight.numpy() for weight in model.trainable_weights]
    iterator = iter(strategy.experimental_distribute_dataset(data.repeat()))
    model.make_train_function()
    updates = []
    for seed in range(count):
        model._noise_state.assign([seed, 1, 0])
        for weight, value in zip(model.trainable_weights, start, strict=True):
            weight.assign(value)
        model.train_function(iterator)
        updates.append(np.concatenate([weight.numpy().ravel() for weight in model.trainable_weights]))
    return np.array(updates)


def play(strategy, images, kind, settings, **rules):
    """What came of a game of these rules over twelve steps: the moves of both sides, the weights, whether copies agree."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = kind(data_shape=(4, 4, 1), latent_dim=2, seed=0, **settings)
        model.compile(objective=kg.Game(**rules), jit_compile=False)
    model.fit(images[:48], batch_size=8, epochs=2, verbose=0)
    optimizers = model.critic_optimizer, model.optimizer
    return {"moves": [int(optimizer.iterations.numpy()) for optimizer in optimizers], **state(strategy, model)}


def odd_batches(strategy, images):
    """What came of two epochs of four batches, three a call, the last of one image, which is none for one replica."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = kg.SigmoidBeliefNetwork(data_shape=(4, 4, 1), units=(3,), seed=0)
        model.compile(objective=kg.objectives.NVIL(), steps_per_execution=3, jit_compile=False)
    history = model.fit(images[:49], batch_size=16, epochs=2, verbose=0).history
    return {"steps": int(model.steps_taken), "history": history, **state(strategy, model)}


def state(strategy, model):
    """The model's variables in a row, as JSON takes them, and whether all replicas hold the same."""
    copies = [[local.numpy().ravel() for local in strategy.experimental_local_results(v.value)] for v in model.variables]
    return {
        "weights": np.concatenate([of_replicas[0] for of_replicas in copies]).tolist(),
        "copies_identical": all(np.array_equal(copy, of[0]) for of in copies for copy in of),
    }


def results(name, batch_size):
    """What came of the training under the strategy of that name, "none", "mirrored" or "multi_worker"."""
    strategy = strategy_named(name)
    images = (np.random.default_rng(0).random((240, 4, 4, 1)) < 0.3).astype(np.float32)
    model = build(strategy, lambda: keras.optimizers.Adam(1e-2))
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch_size, drop_remainder=True)
    history = model.fit(data, epochs=2, validation_data=data, verbose=0).history

    def noise_of_replica():
        return kg.noise.BatchNoise(model._next_seed(), (1,)).uniform((4,))

    draws = strategy.experimental_local_results(strategy.run(tf.function(noise_of_replica)))
    games, odd = {}, None
    if name != "none":
        games["alternate"] = play(strategy, images, kg.DCGAN, {"filters": (2,)}, schedule="alternate", critic_steps=2)
    if name == "mirrored":
        games["every step"] = play(strategy, images, kg.GAN, {"hidden_units": (4,), "critic_units": (4,)})
        odd = odd_batches(strategy, images)
    result = {
        "replicas": strategy.num_replicas_in_sync,
        "history": history,
        "draws": [draw.numpy().ravel().tolist() for draw in draws],
        "games": games,
        "odd batches": odd,
        **state(strategy, model),
    }
    if name != "multi_worker":
        updates = updates_of_one_step(strategy, images[:40], 400)
        result["updates_mean"], result["updates_std"] = updates.mean(0).tolist(), updates.std(0, ddof=1).tolist()
    return result


if __name__ == "__main__":
    print("RESULT " + json.dumps(results(sys.argv[1], int(sys.argv[2]))), flush=True)
