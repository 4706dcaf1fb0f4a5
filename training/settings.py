"""What settings of a recipe may be: read from the command line, and resolved for data. TensorFlow is not imported here."""

import hashlib
import json
import math

from training.suggest import unknown

#: Settings that are words, and the words allowed.
CHOICES = {
    "likelihood": ("bernoulli", "gaussian", "discretized_logistic", "cross_entropy"),
    "binarization": ("none", "threshold", "dynamic"),
    "encoder": ("mlp", "convolutional"),
    "decoder": ("mlp", "convolutional"),
    "generative": ("factorial", "autoregressive"),
    "recognition": ("factorial", "autoregressive"),
    "objective": (
        "elbo",
        "iwae",
        "wake_sleep",
        "reweighted_wake_sleep",
        "vimco",
        "score_function",
        "nvil",
        "muprop",
    ),
    "loss": ("minimax", "non_saturating", "least_squares", "hinge", "wasserstein"),
    "turns": ("every_step", "alternate"),
    "attention": ("none", "soft", "hard"),
    "network": ("lstm", "feed_forward"),
    "canvas": ("additive", "jump"),
    "mask": ("mcar", "mar"),
    "places": ("learned", "random"),
    "reconstruction": ("squared", "cross_entropy"),
    "mirror": ("none", "left_right"),
    "schedule": ("constant", "cosine"),
    "jit_compile": ("auto", "true", "false"),
}

#: Settings for which 0 means none.
MAY_BE_ZERO = (
    "num_classes", "labelled", "categories", "dropout", "input_dropout", "gradient_penalty", "average", "clip_norm", "momentum"
)  # fmt: skip

#: Settings that are probabilities or decays: at 1 nothing would be left, or nothing new come in.
BELOW_ONE = ("dropout", "input_dropout", "drop_rate", "average", "momentum")

#: Settings that must be 2 at least: of a single grey level nothing can be told.
AT_LEAST_TWO = ("levels",)


def parse_overrides(recipe, assignments, epochs=None):
    """Typed settings from `key=value` texts, as `--set` passes them.

    Args:
        recipe: `Recipe`; its default of a setting says the type.
        assignments: texts such as "hidden_units=400,400".
        epochs: int, as `--epochs` passes it, or None.

    Raises:
        ValueError: not of the form key=value, an unknown key, a value of the wrong type or out of range, two different
            numbers of epochs.
    """
    overrides = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set {assignment}: needs the form key=value")
        if key not in recipe.settings:
            raise ValueError(unknown(f"setting of recipe {recipe.name}", key, recipe.settings))
        overrides[key] = _parse(key, text.strip(), recipe.settings[key])
    if epochs is not None and overrides.setdefault("epochs", epochs) != epochs:
        raise ValueError(f"--epochs {epochs} and --set epochs={overrides['epochs']}: the same setting twice; leave one out")
    return overrides


def _parse(key, text, default):
    if key in CHOICES:
        if text not in CHOICES[key]:
            raise ValueError(f"--set {key}={text}: allowed are {', '.join(CHOICES[key])}")
        return text
    if isinstance(default, str):
        return text
    try:
        if isinstance(default, tuple):
            value = tuple(int(part) for part in text.split(",") if part.strip())
        else:
            value = type(default)(text)
    except ValueError:
        kind = {int: "an integer", float: "a number", tuple: "integers separated by commas"}[type(default)]
        raise ValueError(f"--set {key}={text}: needs {kind}, such as {_show(default)}") from None
    numbers = value if isinstance(value, tuple) else (value,)
    least_is_zero = key in MAY_BE_ZERO
    if not all((number >= 0 if least_is_zero else number > 0) and math.isfinite(number) for number in numbers):
        raise ValueError(f"--set {key}={text}: must be {'0 or ' * least_is_zero}positive and finite")
    if key in BELOW_ONE and value >= 1:
        raise ValueError(f"--set {key}={text}: must be below 1, such as {_show(default) if default else '0.5'}")
    if key in AT_LEAST_TWO and value < 2:
        raise ValueError(f"--set {key}={text}: must be 2 at least, such as {_show(default)}")
    return value


def _show(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def resolve(recipe, data_name, data_kind, overrides):
    """The settings of a run: the recipe's defaults, what differs for the data, then what the user set.

    Args:
        recipe: `Recipe`.
        data_name, data_kind: of the `ImageData`.
        overrides: dict from `parse_overrides`.

    Raises:
        ValueError: grey or colour values under a Bernoulli likelihood, which scores only 0 and 1; settings that exclude each
            other.
    """
    settings = {**recipe.settings, **recipe.for_data.get(data_kind, {}), **recipe.for_data.get(data_name, {}), **overrides}
    if settings.get("labelled") and not settings["categories"]:
        raise ValueError(
            f"labelled={settings['labelled']} without categories: those alone are taught by a part of the labels; with "
            "num_classes each image needs its own"
        )
    if "binarization" not in settings:
        return settings  # a model without a likelihood takes images as they are
    if settings.get("likelihood", "bernoulli") != "bernoulli":
        if overrides.get("binarization", "none") != "none":
            raise ValueError(
                f"binarization={overrides['binarization']} with likelihood={settings['likelihood']}: images are binarised for "
                "likelihood=bernoulli alone; leave it out"
            )
        settings["binarization"] = "none"  # it was for a Bernoulli likelihood
    if settings.get("likelihood", "bernoulli") == "bernoulli" and settings["binarization"] == "none" and data_kind != "binary":
        raise ValueError(
            f"likelihood=bernoulli with {data_kind} data {data_name!r}: a Bernoulli scores only 0 and 1, other values would "
            "give figures that are no likelihood; use --set binarization=dynamic (or threshold), or "
            "likelihood=discretized_logistic"
        )
    return settings


def digest(recipe, settings):
    """sha256 of a recipe's name, family and resolved settings: two runs with the same digest ran the same experiment."""
    text = json.dumps({"recipe": recipe.name, "family": recipe.family, "settings": settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
