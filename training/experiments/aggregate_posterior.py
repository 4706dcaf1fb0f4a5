"""Do the codes of all images together look like draws from the prior? A VAE and an adversarial autoencoder of equal size.

A VAE's KL acts on each image's posterior, the critic of an adversarial autoencoder on all codes at once. What a generator draws
from is the prior, so that where the codes are not, it decodes what it has never seen. Held-out codes are told from prior draws
by a classifier: the classifier two-sample test, whose accuracy is 1/2 where there is nothing to tell.

Makhzani, Shlens, Jaitly, Goodfellow, Frey: Adversarial autoencoders. 2015, section 2 and figure 2.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_gen as kg
import training.data
from keras_gen import evaluation
from training.experiments import SEEDS, over_seeds, shown

LATENT_DIM = 2  # as in the paper's figure
UNITS = (200, 200)
PRIOR_SCALE = 5.0
BATCH_SIZE = 200
EPOCHS = 10
LEVEL = 0.01  # of the test
_CHUNK = 1000


def run(say=print, seeds=SEEDS, epochs=EPOCHS, data_dir=None, data="mnist"):
    """(JSON values, {})."""
    loaded = training.data.load(data, data_dir)
    train = training.data.to_float(loaded.train)
    test = {"VAE": training.data.fixed_images(loaded.test, "dynamic"), "AAE": training.data.to_float(loaded.test)}
    found = {name: [] for name in test}
    for seed in seeds:
        for name, make in (("VAE", vae), ("AAE", aae)):
            keras.utils.set_random_seed(seed)
            model, scale = make(loaded.shape, seed, epochs * (len(train) // BATCH_SIZE))
            model.fit(train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
            held_out = codes(model, test[name], seed)
            prior = scale * np.random.default_rng(seed).standard_normal(held_out.shape)
            ratio = evaluation.density_ratio(held_out, prior, folds=2, epochs=20, seed=seed)
            figures = {
                "accuracy": ratio.accuracy.value,
                "p value": ratio.p_value,
                "Jensen-Shannon divergence": ratio.jensen_shannon.value,
            }
            found[name].append(figures)
            say(f"seed {seed}, {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    results = {
        name: {key: over_seeds([each[key] for each in figures]) for key in figures[0]} for name, figures in found.items()
    }
    protocol = (
        f"{data}, dense networks {'-'.join(map(str, UNITS))}, latent {LATENT_DIM}, {epochs} epochs of batches of {BATCH_SIZE}; "
        f"codes of {len(loaded.test):,} test images against as many prior draws, classifier "
        f"{'-'.join(map(str, ratio.protocol['hidden_units']))}, {ratio.protocol['folds']} folds"
    )
    return {"protocol": protocol, "seeds": list(seeds), "results": results}, {}


def vae(shape, seed, steps):
    """(a compiled VAE, the scale of its prior)."""
    model = kg.VAE(shape, LATENT_DIM, UNITS, binarization="dynamic", seed=seed)
    model.compile(keras.optimizers.Adam(_falling(1e-3, steps)))
    return model, 1.0


def aae(shape, seed, steps):
    """The same of an adversarial autoencoder."""
    model = kg.AdversarialAutoencoder(
        shape, LATENT_DIM, UNITS, prior_scale=PRIOR_SCALE, reconstruction="cross_entropy", seed=seed
    )
    players = {
        name: keras.optimizers.Adam(_falling(rate, steps), beta_1=momentum)
        for name, rate, momentum in (("autoencoder", 1e-3, 0.9), ("critic", 2e-3, 0.5), ("encoder", 2e-3, 0.5))
    }
    model.compile(players["autoencoder"], critic_optimizer=players["critic"], encoder_optimizer=players["encoder"])
    return model, PRIOR_SCALE


def _falling(rate, steps):
    return keras.optimizers.schedules.CosineDecay(rate, steps)


def codes(model, images, seed):
    """One code for each image: of an autoencoder its encoder's, of a VAE a draw from q, float32 `[N, D]`."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        chunk = tf.constant(images[start : start + _CHUNK])
        if hasattr(model, "encode"):
            parts.append(model.encode(chunk))
        else:
            parts.append(model.trace(chunk, 1, tf.constant([seed, start])).groups[0].value[0])
    return np.concatenate(parts)


def markdown(results):
    """A table of both, and what the test says."""
    lines = ["| codes against prior | accuracy (1/2: equal) | Jensen-Shannon divergence, nats | told apart at 1 % |"]
    lines.append("| --- | --- | --- | --- |")
    for name, found in results["results"].items():
        told = sum(value < LEVEL for value in found["p value"]["values"])
        accuracy, divergence = found["accuracy"], found["Jensen-Shannon divergence"]
        lines.append(
            f"| {name} | **{shown(accuracy)}** | {shown(divergence, '.4f')} | {told} of {len(results['seeds'])} seeds |"
        )
    return "\n".join([*lines, "", f"{results['protocol']}; {len(results['seeds'])} seeds.", ""])
