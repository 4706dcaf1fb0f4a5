"""Recipes, their settings, and what `--set` may change."""

import pytest

from training import recipes
from training.settings import CHOICES, digest, parse_overrides, resolve

VAE = recipes.get_recipe("vae")


def test_unknown_recipe():
    with pytest.raises(ValueError, match="unknown recipe 'linear-vae': did you mean 'linear_vae'"):
        recipes.get_recipe("linear-vae")


def test_overrides_are_typed():
    texts = ["hidden_units=400,300", "latent_dim=7", "learning_rate=3e-4", "likelihood=gaussian", "activation=relu"]
    assert parse_overrides(VAE, texts) == {
        "hidden_units": (400, 300),
        "latent_dim": 7,
        "learning_rate": 3e-4,
        "likelihood": "gaussian",
        "activation": "relu",
    }
    assert parse_overrides(VAE, ["hidden_units="]) == {"hidden_units": ()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent_dim", "key=value"),
        ("latentdim=3", "did you mean 'latent_dim'"),
        ("latent_dim=three", "latent_dim=three: needs an integer"),
        ("latent_dim=0", "must be positive"),
        ("latent_dim=2.5", "needs an integer"),
        ("learning_rate=fast", "needs a number"),
        ("learning_rate=-1", "must be positive"),
        ("learning_rate=nan", "must be positive and finite"),
        ("hidden_units=10,x", "needs integers separated by commas"),
        ("hidden_units=10,0", "must be positive"),
        ("levels=1", "levels=1: must be 2 at least, such as 256"),
        ("likelihood=poisson", "allowed are bernoulli, gaussian, discretized_logistic"),
    ],
)
def test_bad_override(text, message):
    with pytest.raises(ValueError, match=message):
        parse_overrides(VAE, [text])


@pytest.mark.parametrize(
    ("recipe", "key"),
    [*(("gan", key) for key in ("dropout", "input_dropout", "momentum", "average")), ("sequential_imputer", "drop_rate")],
)
def test_probabilities_and_decays_are_below_one(recipe, key):
    recipe = recipes.get_recipe(recipe)
    for text in ("1", "1.5"):
        with pytest.raises(ValueError, match=f"--set {key}={text}: must be below 1, such as 0"):
            parse_overrides(recipe, [f"{key}={text}"])
    for text in ("0.99",) if key == "drop_rate" else ("0", "0.99"):
        assert parse_overrides(recipe, [f"{key}={text}"]) == {key: float(text)}


def test_epochs_are_said_once():
    with pytest.raises(ValueError, match="--epochs 1 and --set epochs=7: the same setting twice"):
        parse_overrides(VAE, ["epochs=7"], epochs=1)
    for texts, epochs in (([], 7), (["epochs=7"], None), (["epochs=7"], 7)):
        assert parse_overrides(VAE, texts, epochs) == {"epochs": 7}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_is_whole(name):
    recipe = recipes.RECIPES[name]
    assert recipe.name == name and recipe.summary and recipe.reference
    for kind, differences in recipe.for_data.items():
        assert differences.keys() <= recipe.settings.keys(), kind
    for key, words in CHOICES.items():
        assert recipe.settings.get(key, words[0]) in words
    for data, kind in (("digits", "grey"), ("mnist", "grey"), ("npz:x", "grey"), ("npz:x", "binary"), ("cifar10", "colour")):
        settings = resolve(recipe, data, kind, {})
        assert settings.keys() == recipe.settings.keys()
        if "binarization" not in settings:
            continue  # no likelihood to score grey values by
        # Defaults never score grey values by a Bernoulli.
        assert settings.get("likelihood", "bernoulli") != "bernoulli" or settings["binarization"] != "none" or kind == "binary"


def test_the_baseline_stays_linear_on_all_data():
    recipe = recipes.RECIPES["linear_vae"]
    for data, kind in (("digits", "grey"), ("mnist", "grey"), ("cifar10", "colour")):
        assert resolve(recipe, data, kind, {})["hidden_units"] == ()


def test_grey_values_under_a_bernoulli_are_refused():
    for kind in ("grey", "colour"):
        with pytest.raises(ValueError, match="a Bernoulli scores only 0 and 1"):
            resolve(VAE, "folder:x", kind, {"likelihood": "bernoulli"})
    with pytest.raises(ValueError, match="a Bernoulli scores only 0 and 1"):
        resolve(VAE, "mnist", "grey", {"binarization": "none"})
    settings = resolve(VAE, "folder:x", "grey", {"likelihood": "bernoulli", "binarization": "dynamic"})
    assert settings["binarization"] == "dynamic"


def test_binarisation_is_for_bernoullis():
    settings = resolve(VAE, "mnist", "grey", {"likelihood": "discretized_logistic"})
    assert settings["binarization"] == "none"
    with pytest.raises(ValueError, match="binarization=threshold with likelihood=gaussian: images are binarised for"):
        resolve(VAE, "mnist", "grey", {"likelihood": "gaussian", "binarization": "threshold"})


def test_a_part_of_the_labels_teaches_categories_alone():
    for overrides in ({"labelled": 50}, {"labelled": 50, "num_classes": 10}):
        with pytest.raises(ValueError, match="labelled=50 without categories"):
            resolve(recipes.RECIPES["aae"], "mnist", "grey", overrides)


def test_digest():
    settings = resolve(VAE, "digits", "grey", {})
    assert digest(VAE, settings) == digest(VAE, dict(reversed(settings.items())))
    assert digest(VAE, settings) != digest(VAE, {**settings, "latent_dim": 3})
    assert digest(VAE, settings) != digest(recipes.RECIPES["iwae"], settings)


def test_a_summary_says_on_which_data_images_are_of_a_class():
    recipe = recipes.get_recipe("dcgan")
    labelled = [name for name, settings in recipe.for_data.items() if settings.get("num_classes")]
    assert not recipe.settings["num_classes"]
    assert recipe.summary.endswith(f"class-conditional on {' and '.join(labelled)}")
