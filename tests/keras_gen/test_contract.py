"""What every public model keeps: training, saving, precision, compilation, sampling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen.model import TrainableModel
from tests.models import (
    CLASSIFIERS,
    GAMES,
    MODELS,
    ONE_OF_EACH,
    data_for,
    draws_images,
    generated,
    has_likelihood,
    images_for,
    plays_game,
)


@pytest.fixture(params=sorted(MODELS))
def factory(request):
    return MODELS[request.param]


@pytest.fixture(params=ONE_OF_EACH)
def one_of_each(request):
    return MODELS[request.param]


@pytest.fixture(params=sorted(MODELS.keys() - CLASSIFIERS))
def generator_factory(request):
    return MODELS[request.param]


@pytest.fixture(params=sorted(MODELS.keys() - {*CLASSIFIERS, *GAMES}))
def likelihood_factory(request):
    return MODELS[request.param]


def both(data):
    """`fit`'s `validation_data` from what `data_for` gives."""
    return data if len(data) > 1 else data[0]


def compiled(factory, jit_compile=False, learning_rate=1e-3):
    keras.utils.set_random_seed(0)
    model = factory(seed=1)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), jit_compile=jit_compile)
    return model


class States(keras.callbacks.Callback):
    """Keeps what a model's variables were as each of the first six epochs began, or gives them to another model."""

    def __init__(self, of=None):
        super().__init__()
        self.values, self.given = [], of.values if of else []

    def on_epoch_begin(self, epoch, logs=None):
        optimizers = (optimizer for optimizer, _ in self.model.players())
        state = [*self.model.variables, *(variable for optimizer in optimizers for variable in optimizer.variables)]
        if self.given:
            for variable, value in zip(state, self.given[epoch], strict=True):
                variable.assign(value)
        elif epoch < 6:
            self.values.append([variable.numpy() for variable in state])


def essentials(config):
    """A config without what Keras records of how a layer was built, which an unbuilt twin lacks."""
    if isinstance(config, dict):
        return {key: essentials(value) for key, value in config.items() if key not in ("build_config", "build_input_shape")}
    return [essentials(value) for value in config] if isinstance(config, list | tuple) else config


def test_every_public_model_is_in_the_registry():
    public = {name for name in kg.__all__ if isinstance(vars(kg)[name], type) and issubclass(vars(kg)[name], TrainableModel)}
    models = {name: factory() for name, factory in MODELS.items()}
    assert public == {type(model).__name__ for model in models.values()}
    assert public == {type(models[name]).__name__ for name in ONE_OF_EACH}
    assert {name for name, model in models.items() if draws_images(model)} == MODELS.keys() - CLASSIFIERS
    assert {name for name, model in models.items() if has_likelihood(model)} == MODELS.keys() - {*CLASSIFIERS, *GAMES}


# Those of `ONE_OF_EACH` first: `trained` has the same place among them as among all, by which pytest knows it again.
@pytest.fixture(scope="module", params=[*ONE_OF_EACH, *sorted(MODELS.keys() - {*ONE_OF_EACH})])
def trained(request):
    """A model, its data, the history of its training, and its state as each of the first epochs began: once for all that is
    asked of it, since tracing is what costs."""
    model = compiled(MODELS[request.param], learning_rate=1e-2)
    data, validation = data_for(model), both(data_for(model, seed=1))
    states = States()
    history = model.fit(*data, batch_size=16, epochs=20, validation_data=validation, callbacks=[states], verbose=0).history
    return model, data, history, states


def test_fit_reports_finite_figures_and_lowers_the_loss(trained):
    model, _, history, _ = trained
    for name in ("loss", *model.figure_names()):
        assert np.all(np.isfinite(history[name])) and np.all(np.isfinite(history[f"val_{name}"]))
    if not plays_game(model):  # a game's losses fall towards nothing
        assert history["loss"][-1] < history["loss"][0]


def test_saved_and_loaded_it_trains_on_as_if_nothing_had_happened(trained, tmp_path):
    model, data, *_ = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert essentials(loaded.get_config()) == essentials(model.get_config())
    assert type(loaded.objective) is type(model.objective)
    for (ours, _), (theirs, _) in zip(model.players(), loaded.players(), strict=True):
        for one, other in zip(ours.variables, theirs.variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
    for each in (model, loaded):
        each.fit(*data, batch_size=16, epochs=2, verbose=0, shuffle=False)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


def test_config_round_trip(factory):
    model = factory(seed=5)
    again = type(model).from_config(model.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
    assert essentials(again.get_config()) == essentials(model.get_config())


@pytest.mark.parametrize("trained", ONE_OF_EACH, indirect=True)
def test_train_step_compiles_whole_with_xla_and_gives_the_same_losses(trained, request):
    plain, data, history, states = trained
    xla = compiled(MODELS[request.node.callspec.params["trained"]], jit_compile=True, learning_rate=1e-2)
    assert xla.jit_compile and not plain.jit_compile
    losses = xla.fit(*data, batch_size=16, epochs=6, callbacks=[States(of=states)], verbose=0).history["loss"]
    errors = np.abs(np.divide(losses, history["loss"][:6]) - 1)
    # Each epoch from the same state: where the two round differently, a discrete draw may fall to the other side and part them
    # for good. That is rare; in more than one epoch it is not chance.
    assert np.sort(errors)[-2] < 1e-4, errors


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_likelihoods_in_float32(one_of_each, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled(one_of_each)
    finally:
        keras.config.set_dtype_policy("float32")
    data = data_for(model)
    if has_likelihood(model):
        trace = model.trace(data[0], 2)
        scores = [trace.log_weight, trace.log_likelihood]
        scores += [score for group in trace.groups for score in (group.log_p, group.log_q, group.kl())]
        assert {score.dtype for score in scores} == {tf.float32}
    # float16 starts with a loss scale that overflows, and skips the steps in which it does.
    history = model.fit(*data, batch_size=16, epochs=15, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert plays_game(model) or history["loss"][-1] < history["loss"][0]
    for optimizer, _ in model.players():
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    if draws_images(model):
        drawn = generated(model, np.array([[1, 2]], np.int32))
        assert all(value.dtype == np.float32 for value in drawn.values())
    else:
        assert model.predict(data[0], verbose=0).dtype == np.float32


def test_xla_is_chosen_for_dense_models_and_not_for_convolutions_and_loops(one_of_each):
    model = one_of_each()
    model.compile()
    loops = isinstance(model, kg.DRAW | kg.SequentialGenerator | kg.SequentialImputer)
    convolves = any("Conv" in type(layer).__name__ for layer in model._flatten_layers())
    assert model.jit_compile == (not loops and not convolves)


def test_a_trace_has_shape_samples_by_batch(likelihood_factory):
    model = likelihood_factory()
    trace = model.trace(images_for(model, 6), num_samples=3)
    assert trace.log_weight.shape == trace.log_likelihood.shape == (3, 6)
    for group in trace.groups:
        assert group.value.shape[:2] == (3, 6)
        assert group.log_p.shape == group.log_q.shape == (3, 6)


def test_generate_is_a_function_of_each_row_alone(generator_factory):
    model = generator_factory()
    seeds = np.random.default_rng(0).integers(-(2**31), 2**31, (64, 2)).astype(np.int32)
    together = generated(model, seeds)
    assert together.keys() == ({"sample", "mean"} if has_likelihood(model) else {"sample"})
    for value in together.values():
        assert value.shape == (64, *model.data_shape)
        assert value.dtype == np.float32 and value.min() >= 0 and value.max() <= 1
    classes = getattr(model, "num_classes", 0)
    for index in (0, 31, 63):
        label = [np.array([index % classes], np.int32)] if classes else []
        alone = model.generate(seeds[index : index + 1], *label)
        exact = "mean" if has_likelihood(model) else "sample"
        np.testing.assert_allclose(alone[exact][0], together[exact][index], atol=1e-6)
        assert np.mean(np.abs(alone["sample"][0] - together["sample"][index]) > 1e-5) == 0
    labels = [tf.constant(np.arange(64, dtype=np.int32) % classes)] if classes else []
    compiled_too = tf.function(model.generate)(tf.constant(seeds), *labels)
    for name in together.keys() - ({"sample"} if has_likelihood(model) else set()):
        np.testing.assert_allclose(compiled_too[name], together[name], atol=1e-5)


def test_sample_is_generate_of_the_rows_of_its_seed(generator_factory):
    model = generator_factory()
    rows = np.array([[7, 0], [7, 1], [7, 2]], np.int32)
    np.testing.assert_array_equal(model.sample(3, seed=7), generated(model, rows)["sample"])
    assert not np.array_equal(model.sample(3, seed=7), model.sample(3, seed=8))


def test_the_mean_of_many_samples_is_the_mean_of_the_means(likelihood_factory):
    model = likelihood_factory()
    seeds = np.random.default_rng(0).integers(-(2**31), 2**31, (4000, 2)).astype(np.int32)
    drawn = {name: value.numpy().astype(np.float64) for name, value in model.generate(seeds).items()}
    difference = drawn["sample"] - drawn["mean"]
    if isinstance(model.data_conditional, kg.conditionals.Normal):
        return  # clipped to the visible range, sample and mean need not agree
    z = np.abs(difference.mean(0)) / (difference.std(0, ddof=1) / np.sqrt(len(seeds)))
    assert z.max() < 6 or np.abs(difference.mean(0)).max() < 0.5 / 255


@pytest.mark.parametrize(
    "seed, message",
    [
        (np.zeros((3,), np.int32), r"shape \(3,\)"),
        (np.zeros((3, 3), np.int32), r"shape \(3, 3\)"),
        (np.zeros((3, 2), np.float32), "float32"),
        (np.zeros((3, 2), np.uint32), "uint32"),
        (np.zeros((3, 2), np.int64), "int64"),
        ([[0.5, 1.0]], "float64"),
        ([[2**40, 1]], "int64"),
    ],
)
def test_bad_seeds_are_refused(seed, message):
    with pytest.raises(ValueError, match=message):
        MODELS["vae"]().generate(seed)


def test_lists_of_small_integers_are_seeds():
    model = MODELS["vae"]()
    np.testing.assert_array_equal(model.generate([[7, -1]])["sample"], model.generate(np.array([[7, -1]], np.int32))["sample"])


@pytest.mark.parametrize("arguments, message", [
    ((0,), "num=0"), ((2.5,), "num=2.5"), (("3",), "num='3'"), ((True,), "num=True"), ((3, 2**31), "seed=2147483648"),
    ((3, 1.5), "seed=1.5"),
])  # fmt: skip
def test_bad_sample_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MODELS["vae"]().sample(*arguments)


BAD_IMAGES = {
    "outside": (np.full((4, 8, 8, 1), 1.5, np.float32), "from 1.5 to 1.5"),
    "nan": (np.full((4, 8, 8, 1), np.nan, np.float32), "NaN"),
    "infinite": (np.full((4, 8, 8, 1), np.inf, np.float32), "infinite"),
    "rank": (np.zeros((4, 8, 8), np.float32), r"shape \((4|None), 8, 8\)"),
    "channels": (np.zeros((4, 8, 8, 3), np.float32), r"shape \((4|None), 8, 8, 3\)"),
    "integers": (np.zeros((4, 8, 8, 1), np.uint8), "uint8"),
    "empty": (np.zeros((0, 8, 8, 1), np.float32), "no (image|batch)"),
}


@pytest.mark.parametrize("as_dataset", [False, True])
@pytest.mark.parametrize("name", sorted(BAD_IMAGES))
def test_bad_images_are_refused_before_training(name, as_dataset):
    images, message = BAD_IMAGES[name]
    model = MODELS["vae"]()
    model.compile()
    data = tf.data.Dataset.from_tensor_slices(images).batch(2) if as_dataset else images
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            call(data, verbose=0)


def test_grey_images_under_a_bernoulli_are_never_silently_scored():
    grey = (np.arange(64) / 63).astype(np.float32).reshape(1, 8, 8, 1).repeat(20, 0)
    model = MODELS["vae"]()
    model.compile(jit_compile=False)
    with pytest.warns(UserWarning, match="drawn afresh"):
        model.fit(grey, verbose=0)
    strict = MODELS["vae"](binarization="none")
    strict.compile()
    with pytest.raises(ValueError, match="Bernoulli"):
        strict.fit(grey, verbose=0)


def test_other_data_do_not_turn_off_the_binarisation_of_grey_training_images():
    grey = np.full((20, 8, 8, 1), 0.3, np.float32)
    binary = (grey > 0.5).astype(np.float32)
    model = MODELS["vae"](seed=0)
    model.compile(jit_compile=False)

    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kg.evaluation.log_likelihood(model, binary, num_samples=2, progress=False)

    with pytest.warns(UserWarning, match="drawn afresh"):
        model.fit(grey, validation_data=binary, epochs=2, callbacks=[Evaluate()], verbose=0)
    assert model.binarization_in_force == "dynamic"
    # Seen grey only by a callback, binary images train on as they did.
    model = MODELS["vae"](seed=0)
    model.compile(jit_compile=False)
    model.fit(binary, verbose=0)
    assert model.binarization_in_force == "none"
    with pytest.warns(UserWarning, match="drawn afresh"):
        model.evaluate(grey, verbose=0)
    assert model.binarization_in_force == "dynamic"
    # Of a data set's later batches nothing is known.
    model = MODELS["vae"](seed=0)
    model.compile(jit_compile=False)
    model.fit(tf.data.Dataset.from_tensor_slices(np.concatenate([binary, grey])).batch(20), verbose=0)
    assert model.binarization_in_force == "dynamic"


def test_dynamic_binarisation_leaves_binary_images_and_has_the_right_mean():
    model = MODELS["vae"](binarization="dynamic")
    binary = images_for(model)
    np.testing.assert_array_equal(model.binarize(tf.constant(binary), [1, 2]), binary)
    grey = np.full((4000, 8, 8, 1), 0.3, np.float32)
    drawn = model.binarize(tf.constant(grey), [1, 2]).numpy()
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert abs(drawn.mean() - 0.3) < 5 * np.sqrt(0.21 / drawn.size)
    assert not np.array_equal(drawn, model.binarize(tf.constant(grey), [1, 3]))


def test_levels_off_the_grid_are_refused():
    model = kg.VAE((8, 8, 1), likelihood="discretized_logistic", levels=17)
    model.compile()
    with pytest.raises(ValueError, match="k/16"):
        model.fit(np.full((4, 8, 8, 1), 0.4, np.float32), verbose=0)


def test_constructor_and_compile_refuse_what_cannot_be():
    for arguments, message in (
        ({"data_shape": (8, 8)}, "three positive integers"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"likelihood": "poisson"}, "'bernoulli', 'gaussian', 'discretized_logistic'"),
        ({"encoder": "transformer"}, "encoder='transformer'"),
        ({"binarization": "sometimes"}, "binarization='sometimes'"),
    ):
        with pytest.raises(ValueError, match=message):
            kg.VAE(**{"data_shape": (8, 8, 1), **arguments})
    with pytest.raises(ValueError, match="ELBO"):
        MODELS["vae"]().compile(objective="mse")
    with pytest.raises(ValueError, match="num_samples=0"):
        kg.objectives.IWAE(0)
    conditionals = kg.conditionals
    discrete = kg.HelmholtzMachine([conditionals.Bernoulli(3), conditionals.Bernoulli((8, 8, 1))], [conditionals.Bernoulli(3)])
    with pytest.raises(ValueError, match="Objectives that fit this model: MuProp, NVIL"):
        discrete.compile(objective=kg.objectives.ELBO())
    with pytest.raises(ValueError, match="every generative one but the last"):
        kg.HelmholtzMachine([conditionals.Bernoulli((8, 8, 1))], [conditionals.Bernoulli(3)])
    with pytest.raises(ValueError, match="infers"):
        kg.HelmholtzMachine([conditionals.Normal(2), conditionals.Bernoulli((8, 8, 1))], [conditionals.Normal(3)])
