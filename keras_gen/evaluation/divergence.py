"""How far two distributions are apart, from samples of each: a critic's density ratio and what follows from it."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_gen.checks import check_integers
from keras_gen.evaluation.score import Score
from keras_gen.evaluation.small_networks import float32_network, seeded


@dataclasses.dataclass(frozen=True)
class DensityRatio:
    """What critics that never saw the samples they judge say of p and q.

    Attributes:
        log_ratio_p: estimate of log p(x) - log q(x) at the samples of p, float64 `[N]`.
        log_ratio_q: the same at the samples of q, `[M]`.
        critics: Keras models from standardised rows to the log-ratio, one a fold.
        mean, scale: by which rows are standardised, `[D]` each.
        protocol: dict, how it was estimated.
    """

    log_ratio_p: np.ndarray
    log_ratio_q: np.ndarray
    critics: tuple
    mean: np.ndarray
    scale: np.ndarray
    protocol: dict

    def log_ratio(self, x):
        """log p(x) - log q(x), float64 `[N]`, at new points `[N, ...]`: the mean over the folds' critics."""
        x = np.asarray(x)
        if math.prod(x.shape[1:]) != self.mean.size:
            raise ValueError(f"x has shape {x.shape}: {self.mean.size} values a row are needed, as the samples of p and q had.")
        rows = _rows(x, "x", self.mean.size, self.mean, self.scale)
        return np.mean([critic(rows).numpy()[:, 0] for critic in self.critics], axis=0).astype(np.float64)

    @property
    def jensen_shannon(self):
        """Jensen-Shannon divergence, a `Score` in nats with its standard error, from 0 to log 2.

        log 2 + 1/2 E_p log sigmoid(r) + 1/2 E_q log sigmoid(-r), r the log-ratio: with the true r the divergence itself, with
        any other less. So it is a lower bound in expectation; below 0 the critics have found nothing.
        """
        for_p, for_q = -np.logaddexp(0.0, -self.log_ratio_p), -np.logaddexp(0.0, self.log_ratio_q)
        value = math.log(2.0) + 0.5 * for_p.mean() + 0.5 * for_q.mean()
        error = 0.5 * math.sqrt(for_p.var() / len(for_p) + for_q.var() / len(for_q))
        return Score("Jensen-Shannon divergence (nats)", float(value), self.protocol, float(error))

    @property
    def accuracy(self):
        """Share of samples that the critics tell right, p and q in equal parts: a `Score`; 1/2 where they cannot be told.

        The classifier two-sample test: with p = q the share has mean 1/2 and at most the standard error given.

        Lopez-Paz, Oquab: Revisiting classifier two-sample tests. ICLR 2017.
        """
        for_p, for_q = self.log_ratio_p > 0.0, self.log_ratio_q <= 0.0
        error = 0.25 * math.sqrt(1.0 / len(for_p) + 1.0 / len(for_q))
        return Score("two-sample accuracy", float(0.5 * for_p.mean() + 0.5 * for_q.mean()), self.protocol, error)

    @property
    def p_value(self):
        """Probability of an accuracy as high as this were p and q the same."""
        accuracy = self.accuracy
        return 0.5 * math.erfc((accuracy.value - 0.5) / (accuracy.standard_error * math.sqrt(2.0)))


def density_ratio(p, q, hidden_units=(128, 128), folds=5, epochs=40, batch_size=200, weight_decay=1e-3, seed=0):
    """Estimates log p(x) - log q(x) by training critics to tell samples of p from samples of q.

    With the logistic loss the best critic's logit is the log-ratio. Each fold's critic is trained on the other folds and stops
    where its loss on a tenth of those is least; what is reported of a sample comes from the critic that never saw it.

    Args:
        p, q: samples, float `[N, ...]` and `[M, ...]`, of equal shape a row; at least 10 a fold of each.
        hidden_units: of the critics' dense layers.
        folds: number of folds, at least 2.
        epochs: passes at most.
        batch_size: rows a step; all of a fold's where they are fewer.
        weight_decay: of AdamW.
        seed: int, of the folds, the weights and the order of the rows.

    Returns:
        `DensityRatio`.

    Raises:
        ValueError: rows of different shape, too few of them, values that are not finite; numbers out of range.

    Sugiyama, Suzuki, Kanamori: Density ratio estimation in machine learning. Cambridge 2012, chapter 4.
    """
    check_integers(2, why="since a critic must be judged on samples that it has not seen", folds=folds)
    check_integers(epochs=epochs, batch_size=batch_size)
    check_integers(0, seed=seed)
    hidden_units = tuple(np.atleast_1d(hidden_units).tolist())
    for units in hidden_units:
        check_integers(hidden_units=units)
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay={weight_decay!r}: 0, for none, or a positive finite number.")
    p, q = np.asarray(p), np.asarray(q)
    if p.shape[1:] != q.shape[1:]:
        raise ValueError(f"p has rows of shape {p.shape[1:]}, q of {q.shape[1:]}: both must be samples of the same thing.")
    if min(len(p), len(q)) < 10 * folds:
        raise ValueError(f"{len(p)} samples of p and {len(q)} of q for {folds} folds: at least 10 of each a fold are needed.")
    size = max(1, math.prod(p.shape[1:]))
    both = np.concatenate([_rows(p, "p", size), _rows(q, "q", size)]).astype(np.float64)
    mean, scale = both.mean(0), both.std(0)
    scale = np.where(scale > 0.0, scale, 1.0)
    rows = {"p": _rows(p, "p", size, mean, scale), "q": _rows(q, "q", size, mean, scale)}
    random = np.random.default_rng(seed)
    fold_of = {name: random.permutation(len(values)) % folds for name, values in rows.items()}
    ratios = {name: np.zeros(len(values)) for name, values in rows.items()}
    fewest = sum(len(each) - math.ceil(len(each) / folds) for each in (p, q))  # that a critic learns from
    with seeded(seed):
        training = _Training(size, fewest, hidden_units, epochs, batch_size, weight_decay)
    critics = []
    for fold in range(folds):
        parts, weights, labels = [], [], []
        for name, label in (("p", 1.0), ("q", 0.0)):
            kept = rows[name][fold_of[name] != fold]
            parts.append(kept)
            labels.append(np.full(len(kept), label, np.float32))
            # p and q count the same however many samples there are of each: the logit is the ratio of densities.
            weights.append(np.full(len(kept), 1.0 / len(kept), np.float32))
        order = random.permutation(sum(map(len, parts)))
        x, y, weight = (np.concatenate(each)[order] for each in (parts, labels, weights))
        of_fold = (seed + fold) % 2**32
        with seeded(of_fold):
            critic = training.critic(x, y, weight / weight.mean(), of_fold)
        critics.append(critic)
        for name, values in rows.items():
            ratios[name][fold_of[name] == fold] = critic(values[fold_of[name] == fold]).numpy()[:, 0]
    protocol = {
        "samples": [len(p), len(q)],
        "hidden_units": list(hidden_units),
        "folds": folds,
        "epochs": epochs,
        "batch_size": batch_size,
        "weight_decay": weight_decay,
        "seed": seed,
    }
    return DensityRatio(ratios["p"], ratios["q"], tuple(critics), mean, scale, protocol)


def jensen_shannon(p, q, **options):
    """The Jensen-Shannon divergence of p and q from samples, nats: a `Score` with standard error; `options` of
    `density_ratio`."""
    return density_ratio(p, q, **options).jensen_shannon


class _Training:
    """Trains the critics of all folds, one after the other, by one compiled program.

    Args:
        size: values a row.
        rows: from how many rows a critic learns at the least; a tenth of them say when to stop.
        hidden_units, epochs, batch_size, weight_decay: see `density_ratio`; a batch has no more rows than there are.
    """

    def __init__(self, size, rows, hidden_units, epochs, batch_size, weight_decay):
        self._size, self._hidden_units, self._epochs = size, hidden_units, epochs
        self._held_out = max(1, rows // 10)
        self._batch_size = min(batch_size, rows - self._held_out)
        steps = math.ceil((rows - self._held_out) / self._batch_size)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, steps * epochs)
        self._critic = self._new()
        self._critic.compile(
            keras.optimizers.AdamW(rate, weight_decay=weight_decay),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            weighted_metrics=[],
            jit_compile=True,
            auto_scale_loss=False,
        )
        self._critic.optimizer.build(self._critic.trainable_variables)
        self._start = [variable.numpy() for variable in self._critic.optimizer.variables]

    def critic(self, x, y, weight, seed):
        """A new critic, its weights of the random state, trained on the rows in an order keyed by `seed`."""
        critic, first = self._new(), self._held_out
        self._critic.set_weights(critic.get_weights())
        for variable, value in zip(self._critic.optimizer.variables, self._start, strict=True):
            variable.assign(value)
        train = tf.data.Dataset.from_tensor_slices((x[first:], y[first:], weight[first:]))
        train = train.shuffle(len(x), seed=seed).batch(self._batch_size, drop_remainder=True)
        self._critic.fit(
            train,
            validation_data=(x[:first], y[:first], weight[:first]),
            validation_batch_size=self._held_out,
            epochs=self._epochs,
            callbacks=[keras.callbacks.EarlyStopping(patience=8, restore_best_weights=True)],
            shuffle=False,
            verbose=0,
        )
        critic.set_weights(self._critic.get_weights())
        return critic

    def _new(self):
        def layers():
            return [*(keras.layers.Dense(units, activation="relu") for units in self._hidden_units), keras.layers.Dense(1)]

        return float32_network((self._size,), layers)


def _rows(values, name, size, mean=0.0, scale=1.0):
    values = np.asarray(values, np.float64).reshape(-1, size)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite.")
    return ((values - mean) / scale).astype(np.float32)
