"""What the gradient estimators of a model are worth: variance, signal to noise and bias of each, at its present weights."""

import dataclasses
import inspect
import math
import statistics
import time
from html import escape
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_gen import objectives as known
from keras_gen.checks import check_integers, check_key
from keras_gen.evaluation.enumeration import (
    check_images,
    enumerate_latents,
    exact_gradient,
    generative_weights,
    recognition_weights,
)
from keras_gen.noise import fold_in
from keras_gen.objectives.likelihood_ratio import LikelihoodRatio
from keras_gen.objectives.objective import fitting

# Streams of the seed.
_WARM_UP, _DRAWS = 0, 1
#: Draws from which the running averages of a baseline start.
WARM_UP_DRAWS = 100
#: Standard errors from which a difference from the exact gradient counts as bias. An unbiased estimator's squared difference
#: is a mixture of chi-squares, whose tail is longest where it has one degree of freedom: 6e-5 beyond 4.
SEEN_FROM = 4.0
# Relative error of a gradient in float32.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class PartOfGradient:
    """The gradient by one of the two networks, p or q; sums run over its weights.

    Attributes:
        variance: sum of the variances of a single gradient of the mean over the images, nats^2.
        signal_to_noise: norm of the mean gradient (its square less what noise adds to it) over the root of `variance`;
            infinite without noise, nan where the gradient is 0 always.
        bias: norm of the mean gradient less the exact gradient, nats; None where the exact one is not known.
        bias_error: what `bias` is, in the root mean square, where there is none: noise, and float32's rounding; None with it.
    """

    variance: float
    signal_to_noise: float
    bias: float | None = None
    bias_error: float | None = None

    @property
    def bias_seen(self):
        """Whether the bias stands out of the noise, by 4 standard errors; None where the exact gradient is not known."""
        return None if self.bias is None else self.bias > SEEN_FROM * self.bias_error


@dataclasses.dataclass(frozen=True)
class EstimatorRow:
    """One estimator.

    Attributes:
        name: the objective with those of its arguments that are not the usual ones.
        bound: whose gradient it claims to be: "ELBO", "importance bound of K" or "its own targets" (wake-sleep and RWS, whose
            q follows no bound's gradient). "scaled" and "eased" where the objective's options make it another one on purpose.
        num_samples: K, draws a datum.
        seconds: median wall time of one compiled gradient.
        baseline: what stood in the place of a learned baseline.
        p, q: `PartOfGradient` by the generative and by the recognition weights.
    """

    name: str
    bound: str
    num_samples: int
    seconds: float
    baseline: str
    p: PartOfGradient
    q: PartOfGradient


@dataclasses.dataclass(frozen=True)
class EstimatorReport:
    """The table of `estimator_report`: `str(report)`, `report.markdown()`, `report.plot("variances.svg")`.

    Attributes:
        rows: `EstimatorRow`s.
        num_draws: gradients drawn from each estimator.
        num_images: images over which each gradient is averaged.
        seed: int.
    """

    rows: tuple
    num_draws: int
    num_images: int
    seed: int

    def __str__(self):
        table = [_HEAD, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([self._title, "", lines[0], "-" * max(map(len, lines)), *lines[1:], "", _LEGEND])

    def markdown(self):
        """The table in Markdown."""
        table = [_HEAD, ("---",) * len(_HEAD), *map(_cells, self.rows)]
        return "\n".join([self._title, "", *("| " + " | ".join(row) + " |" for row in table), "", _LEGEND])

    def plot(self, path):
        """Writes bars of the variances, p and q of each estimator, on a log scale as an SVG to `path`."""
        if Path(path).suffix != ".svg":
            raise ValueError(f"path={str(path)!r}: the picture is an SVG, its name must end in .svg.")
        Path(path).write_text(_svg(self), encoding="utf-8")

    @property
    def _title(self):
        return f"Gradients of the mean over {self.num_images} images, {self.num_draws} draws each, seed {self.seed}"


def estimator_report(model, images, objectives=None, num_draws=200, seed=0):
    """Draws gradients from each estimator at the model's present weights and compares their noise and bias.

    Bias is measured where the exact gradient can be had: discrete latents of at most 2^12 states, for the ELBO and the
    importance bound of K = 2 (for p of wake-sleep and RWS too, which climbs these). The model is left as it is.

    Learned baselines belong to training. The objective that the model is compiled with is reported with its own, as trained.
    For any other, running averages are warmed up by 100 draws at the present weights, and a network is new: it returns 0, so
    that its row says what the running mean alone is worth.

    Args:
        model: a `HelmholtzMachine`.
        images: float `[N, H, W, C]`; 0 and 1 where the likelihood is Bernoulli. Every gradient is that of the mean over them.
        objectives: objectives to compare. None for all of keras_gen's that are valid for the model, and the one in force;
            NVIL then without variance normalisation, which scales q's gradient and so hides its variance.
        num_draws: gradients a row, at least 2. Standard errors fall with its root.
        seed: int32, keys the draws, the same for every row.

    Returns:
        `EstimatorReport`.

    Raises:
        ValueError: images that the model cannot score as they are; an objective whose gradient is not valid for the model;
            fewer than two draws.

    Signal to noise: Rainforth, Kosiorek, Le, Maddison, Igl, Wood, Teh: Tighter variational bounds are not necessarily better.
    ICML 2018, equation 9 (here of the whole vector).
    """
    (num_draws,) = check_integers(2, why="since one gradient has no variance", num_draws=num_draws)
    seed = check_key(seed)
    if isinstance(objectives, known.Objective):
        raise ValueError(f"objectives={objectives!r}: a list of objectives is needed, [{type(objectives).__name__}(...)].")
    q = recognition_weights(model)  # first, since it refuses what is no HelmholtzMachine
    weights = generative_weights(model), q
    images = check_images(model, images)
    rows = []
    exact = _ExactGradients(model, images)
    for objective in _usual(model) if objectives is None else objectives:
        objective.check(model)
        rows.append(_row(model, tf.constant(images), objective, weights, exact, num_draws, seed))
    return EstimatorReport(tuple(rows), num_draws, len(images), seed)


class _StandIn:
    """The model with another companion: to an objective it is the model, and the model does not know of it."""

    def __init__(self, model, companion):
        self._model, self.companion = model, companion

    def __getattr__(self, name):
        return getattr(self._model, name)


class _ExactGradients:
    """The exact gradients of a model that has them, each computed once."""

    def __init__(self, model, images):
        self._model, self._images, self._known = model, images, {}
        try:
            enumerate_latents(model)
        except ValueError:
            self._known = None

    def of(self, bound):
        """The gradient `[P]` of a bound of `enumeration.exact_gradient`, None where there is none."""
        if self._known is None or bound is None:
            return None
        if bound not in self._known:
            self._known[bound] = exact_gradient(self._model, self._images, bound)
        return self._known[bound]


def _usual(model):
    kinds = [
        known.ScoreFunction(baseline=None),
        known.ScoreFunction(),
        known.NVIL(normalize=False),
        known.MuProp(),
        known.VIMCO(2),
        known.VIMCO(5),
        known.WakeSleep(),
        known.ReweightedWakeSleep(2),
        known.ReweightedWakeSleep(5),
        known.ELBO(),
        known.IWAE(5),
    ]
    valid = fitting(model)
    kinds = [kind for kind in kinds if type(kind).__name__ in valid]
    in_force = getattr(model, "objective", None)
    return kinds if in_force is None or any(_same(in_force, kind) for kind in kinds) else [*kinds, in_force]


def _same(one, other):
    return type(one) is type(other) and one.get_config() == other.get_config()


def _claim(objective):
    """(Whose gradient the objective claims to be, the bound of `exact_gradient` that it is for p, and for q; None for none)."""
    samples = objective.num_samples
    importance = {1: "elbo", 2: "importance_bound"}.get(samples)
    if isinstance(objective, known.WakeSleep):
        return "its own targets", "elbo", None
    if isinstance(objective, known.ReweightedWakeSleep):
        return "its own targets", importance, None
    if isinstance(objective, known.VIMCO | known.IWAE):
        return "ELBO" if samples == 1 else f"importance bound of {samples}", importance, importance
    if isinstance(objective, LikelihoodRatio) and objective.normalize:
        return "ELBO, q scaled", "elbo", None
    if isinstance(objective, LikelihoodRatio):
        return "ELBO", "elbo", "elbo"
    if isinstance(objective, known.ELBO):
        return ("ELBO, eased", None, None) if objective.warmup_steps or objective.free_bits else ("ELBO", "elbo", "elbo")
    return "not known", None, None


def _row(model, x, objective, weights, exact, num_draws, seed):
    in_force = getattr(model, "objective", None)
    trained = in_force is not None and _same(in_force, objective)
    companion = model.companion if trained else objective.make_companion(model)
    subject = _StandIn(model, companion)
    updated = []

    @tf.function(autograph=False, jit_compile=model.prefers_xla() or None)
    def gradient(key):
        with tf.GradientTape() as tape:
            estimate = objective(subject, x, key)
            value = -tf.reduce_mean(estimate.loss)
        every = [*weights[0], *weights[1]]
        pairs = zip(tape.gradient(value, every), every, strict=True)
        parts = [tf.zeros(own.shape) if part is None else part for part, own in pairs]  # an objective may leave q alone
        updated[:] = [variable for variable, _ in estimate.updates]
        return tf.concat([tf.reshape(part, [-1]) for part in parts], 0), [new for _, new in estimate.updates]

    warm_up = _keys(seed, _WARM_UP, WARM_UP_DRAWS)
    _, updates = gradient(warm_up[0])  # compiles
    if updates and not trained:
        for key in warm_up:
            for variable, value in zip(updated, gradient(key)[1], strict=True):
                variable.assign(value)
    total = squares = 0.0
    seconds = []
    for key in _keys(seed, _DRAWS, num_draws):
        start = time.perf_counter()
        drawn = gradient(key)[0].numpy()
        seconds.append(time.perf_counter() - start)
        drawn = drawn.astype(np.float64)
        total, squares = total + drawn, squares + drawn**2
    mean = total / num_draws
    # Rounding may leave a constant's variance below 0.
    variance = np.maximum(0.0, squares - num_draws * mean**2) / (num_draws - 1)
    bound, *exact_of = _claim(objective)
    of_p = sum(math.prod(weight.shape) for weight in weights[0])
    parts = []
    for part, reference in zip((slice(0, of_p), slice(of_p, None)), map(exact.of, exact_of), strict=True):
        parts.append(_part(mean[part], variance[part], None if reference is None else reference[part], num_draws))
    baseline = _baseline(objective, companion, trained)
    return EstimatorRow(_name(objective), bound, objective.num_samples, statistics.median(seconds), baseline, *parts)


def _keys(seed, stream, count):
    """A list of keys, int32 `[2]` each."""
    return tf.unstack(fold_in(fold_in([seed, 0], stream), tf.range(count)), axis=1)


def _part(mean, variance, exact, num_draws):
    noise = float(np.sum(variance))
    signal = float(np.sum(mean**2)) - noise / num_draws
    signal_to_noise = math.sqrt(max(signal, 0.0) / noise) if noise else math.inf if signal else math.nan
    if exact is None:
        return PartOfGradient(noise, signal_to_noise)
    error = math.hypot(math.sqrt(noise / num_draws), _ROUNDING * float(np.linalg.norm(exact)))
    return PartOfGradient(noise, signal_to_noise, float(np.linalg.norm(mean - exact)), error)


def _name(objective):
    usual = inspect.signature(type(objective)).parameters
    changed = [
        f"{name}={value!r}" for name, value in objective.get_config().items() if name in usual and usual[name].default != value
    ]
    return f"{type(objective).__name__}({', '.join(changed)})"


def _baseline(objective, companion, trained):
    if isinstance(objective, known.VIMCO):
        return "the other draws"
    if not isinstance(objective, LikelihoodRatio):
        return ""
    if companion is None or objective.baseline not in ("running_mean", "input"):
        return "none" if objective.baseline is None else f"{objective.baseline:g}"
    if trained:
        return "as trained"
    return "running mean" if objective.baseline == "running_mean" else "running mean (network untrained)"


_HEAD = (
    "estimator", "bound", "K", "ms", "variance p", "variance q", "SNR p", "SNR q", "bias p", "bias q", "baseline"
)  # fmt: skip
_LEGEND = (
    "ms: median of one gradient. Variance: summed over weights. SNR: norm of the mean gradient / root of the variance. Bias:\n"
    "norm of the mean gradient less the exact one ± what an unbiased estimator would show; * beyond 4 of these; - not known."
)


def _cells(row):
    parts = row.p, row.q
    return (
        row.name,
        row.bound,
        str(row.num_samples),
        f"{1000 * row.seconds:.2f}",
        *(f"{part.variance:.3g}" for part in parts),
        *("-" if math.isnan(part.signal_to_noise) else f"{part.signal_to_noise:.3g}" for part in parts),
        *(
            "-" if part.bias is None else f"{part.bias:.2g} ± {part.bias_error:.2g}{' *' if part.bias_seen else ''}"
            for part in parts
        ),
        row.baseline or "-",
    )


_WIDTH, _LEFT, _BAR = 900, 330, 500
_COLOURS = {"p": "#adb5bd", "q": "#d9480f"}


def _svg(report):
    """Two bars a row, from a whole power of ten below the smallest variance."""
    variances = [part.variance for row in report.rows for part in (row.p, row.q) if part.variance > 0.0]
    low = math.floor(math.log10(min(variances))) if variances else 0
    high = max(low + 1, math.ceil(math.log10(max(variances)))) if variances else 1
    parts = [_text(10, 22, f"{report._title}: variance (p grey, q orange; log scale)", "start", True)]
    bottom = 40 + 36 * len(report.rows)
    for power in range(low, high + 1):
        x = _LEFT + _BAR * (power - low) / (high - low)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="34" y2="{bottom}" stroke="#dee2e6"/>')
        parts.append(_text(x, bottom + 14, f"1e{power}", "middle"))
    for index, row in enumerate(report.rows):
        top = 40 + 36 * index
        parts.append(_text(_LEFT - 8, top + 17, row.name, "end"))
        for offset, (name, part) in enumerate((("p", row.p), ("q", row.q))):
            length = _BAR * (math.log10(part.variance) - low) / (high - low) if part.variance > 0.0 else 0.0
            y = top + 13 * offset
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="12" fill="{_COLOURS[name]}"/>')
            parts.append(_text(_LEFT + length + 5, y + 10, f"{part.variance:.2g}", "start"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 24}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _text(x, y, text, anchor, bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
