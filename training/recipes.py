"""Recipes: named, complete experiments. All numbers that a training run depends on stand in this file.

To add one, write a `Recipe` into `RECIPES`; a new family also needs a function in `training/builders.py`. TensorFlow is not
imported here.
"""

import dataclasses

from training.suggest import unknown

BURDA_2016 = "Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016, table 1"
BACHMAN_2015 = "Bachman, Precup: Data generation as sequential decision making. NeurIPS 2015"
BORNSCHEIN_2015 = "Bornschein, Bengio: Reweighted wake-sleep. ICLR 2015"
GOODFELLOW_2014 = "Goodfellow et al.: Generative adversarial nets. NeurIPS 2014, table 1"
MNIH_HEESS_2014 = "Mnih, Heess, Graves, Kavukcuoglu: Recurrent models of visual attention. NeurIPS 2014, table 1"
GREGOR_2015 = "Gregor, Danihelka, Graves, Rezende, Wierstra: DRAW: A recurrent neural network for image generation. ICML 2015"
GU_2016 = "Gu, Levine, Sutskever, Mnih: MuProp: Unbiased backpropagation for stochastic neural networks. ICLR 2016, table 1"
HINTON_1995 = "Hinton, Dayan, Frey, Neal: The wake-sleep algorithm for unsupervised neural networks. Science 268, 1995"
MNIH_2014 = "Mnih, Gregor: Neural variational inference and learning in belief networks. ICML 2014"
MNIH_2016 = "Mnih, Rezende: Variational inference for Monte Carlo objectives. ICML 2016"
MAKHZANI_2015 = "Makhzani, Shlens, Jaitly, Goodfellow, Frey: Adversarial autoencoders. 2015"
KINGMA_2014 = "Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014"
RADFORD_2016 = "Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional GANs. ICLR 2016"
TIPPING_1999 = "Tipping, Bishop: Probabilistic principal component analysis. JRSS B, 1999"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A named experiment as data.

    Attributes:
        name: what `train` is given.
        family: name of the function in `training.builders` that makes the compiled model.
        summary: one line.
        settings: every setting with its default; their names are the keys that `--set` takes.
        for_data: settings that differ, by kind of data ("binary", "grey", "colour") or by the data's name, which wins.
        published: the published figure aimed at, with its protocol; "" where there is none.
        reference: the paper.
    """

    name: str
    family: str
    summary: str
    settings: dict
    for_data: dict = dataclasses.field(default_factory=dict)
    published: str = ""
    reference: str = ""


_STEP_BY_STEP = {"draw": 1, "sequential_generator": 1, "sequential_imputer": 1}
#: Command to the families that are fastest with so many threads for each operator, see `keras_gen.parts`. The images of an
#: adversarial model are judged by few large products, which take all threads that there are.
OPERATOR_THREADS = {"train": {**_STEP_BY_STEP, "dcgan": 1}, "evaluate": _STEP_BY_STEP}

TRAINING = {
    "batch_size": 100,
    "epochs": 100,
    "learning_rate": 1e-3,
    "schedule": "cosine",  # from learning_rate to 0 at the end of training
    "jit_compile": "auto",
    "picture_every": 10,  # epochs between pictures of samples
}

VAE = {
    "latent_dim": 50,
    "hidden_units": (200, 200),
    "activation": "tanh",
    "encoder": "mlp",
    "decoder": "mlp",
    "likelihood": "bernoulli",
    "levels": 256,  # grey levels, for likelihood discretized_logistic
    "binarization": "none",
    "objective": "elbo",
    "num_samples": 1,  # samples an image in the objective
    **TRAINING,
}

VAE_FOR_DATA = {
    "binary": {},
    "grey": {"likelihood": "discretized_logistic"},
    "colour": {"likelihood": "discretized_logistic"},
    "digits": {
        "levels": 17,
        "likelihood": "bernoulli",
        "binarization": "threshold",
        "latent_dim": 6,
        "hidden_units": (200, 100),
        "activation": "relu",
        "learning_rate": 3e-3,
        "epochs": 300,
        "picture_every": 30,
    },
    **{
        name: {"likelihood": "bernoulli", "binarization": "dynamic"}
        for name in ("mnist", "fashion_mnist", "kmnist", "emnist", "omniglot")
    },
}

BELIEF_NETWORK = {
    "units": (200, 200),  # of the latent layers, from the data upward
    "generative": "factorial",
    "recognition": "factorial",
    "binarization": "none",
    "objective": "reweighted_wake_sleep",
    "num_samples": 5,  # samples an image in the objective
    **TRAINING,
}

BELIEF_NETWORK_FOR_DATA = {
    "binary": {},
    "grey": {"binarization": "dynamic"},
    "colour": {"binarization": "dynamic"},
    "digits": {"binarization": "threshold", "units": (30, 10), "epochs": 200, "picture_every": 20},
    **{name: {"binarization": "dynamic"} for name in ("mnist", "fashion_mnist", "kmnist", "emnist", "omniglot")},
}


_NETWORK_KINDS = ("generative", "recognition")
PREDICTOR = {name: value for name, value in BELIEF_NETWORK.items() if name not in _NETWORK_KINDS}
PREDICTOR_FOR_DATA = {**BELIEF_NETWORK_FOR_DATA, "digits": {**BELIEF_NETWORK_FOR_DATA["digits"], "units": (30, 30)}}


def _belief_network(name, summary, published, reference, digits_units=(30, 10), **settings):
    for_data = {**BELIEF_NETWORK_FOR_DATA, "digits": {**BELIEF_NETWORK_FOR_DATA["digits"], "units": digits_units}}
    return Recipe(name, "belief_network", summary, {**BELIEF_NETWORK, **settings}, for_data, published, reference)


ADVERSARIAL = {
    "num_classes": 0,  # of the labels that images are drawn by; 0 for none
    "loss": "non_saturating",
    "turns": "every_step",
    "critic_steps": 1,  # moves of the critic for one of the generator
    "gradient_penalty": 0.0,
    "average": 0.0,  # decay of a running average of the generator's weights, which the run's images are drawn by
    **TRAINING,
    "learning_rate": 2e-4,
    "critic_learning_rate": 2e-4,
    "momentum": 0.5,  # Adam's beta_1
    "schedule": "constant",
}

GAN = {
    "latent_dim": 100,
    "hidden_units": (1200, 1200),
    "critic_units": (240, 240),
    "pieces": 5,  # linear pieces of a maxout unit
    "input_dropout": 0.2,
    "dropout": 0.5,
    **ADVERSARIAL,
    "learning_rate": 5e-4,
    "critic_learning_rate": 5e-4,
    "schedule": "cosine",
    "epochs": 75,
}

DCGAN = {
    "latent_dim": 100,
    "filters": (32, 64),
    "critic_filters": (),  # of the critic; () for the same
    "dense_units": (),
    "mirror": "none",  # left_right: each epoch has every image twice, as it is and mirrored
    **ADVERSARIAL,
}

ADVERSARIAL_AUTOENCODER = {
    "latent_dim": 8,
    "hidden_units": (1000, 1000),
    "prior_scale": 5.0,
    "categories": 0,
    "labelled": 0,  # images whose labels are used, the same number of each class; 0 for all
    "reconstruction": "squared",
    "dropout": 0.2,
    **ADVERSARIAL,
    "learning_rate": 5e-4,
    "schedule": "cosine",
    "epochs": 40,
}

# What all models that draw on a canvas share.
CANVAS = {
    "steps": 10,
    "units": 256,
    "latent_dim": 100,
    "likelihood": "bernoulli",
    "levels": 256,  # grey levels, for likelihood discretized_logistic
    "binarization": "none",
    "objective": "elbo",
    "num_samples": 1,  # samples an image in the objective
    "clip_norm": 10.0,  # of the gradient of all weights together; 0 for none
    **TRAINING,
    "epochs": 50,
    "picture_every": 5,
}

_DIGITS_CANVAS = {
    "levels": 17,
    "binarization": "threshold",
    "steps": 6,
    "units": 64,
    "latent_dim": 8,
    "learning_rate": 3e-3,
    "epochs": 100,
    "picture_every": 10,
}

# The paper's: T = 64, 256 units, 100 latents, windows of 2 x 2 to read and of 5 x 5 to write.
DRAW = {
    "attention": "soft",
    "read_size": 5,  # not looked at without attention, as write_size
    "write_size": 5,
    "places": "learned",  # of hard windows; random: what a policy must beat
    **CANVAS,
}


def _for_canvas(digits, **mnist):
    """Settings by kind of data: those of digits, and what differs for MNIST and its like beside the binarisation."""
    of_names = {name: {**differences, **mnist} for name, differences in VAE_FOR_DATA.items() if "binarization" in differences}
    kinds = {kind: VAE_FOR_DATA[kind] for kind in ("binary", "grey", "colour")}
    return {**kinds, **of_names, "digits": {"likelihood": "bernoulli", **_DIGITS_CANVAS, **digits}}


# The paper's: T = 32 in open loop, 250 units, 100 latents.
SEQUENTIAL_GENERATOR = {"network": "lstm", "canvas": "additive", **CANVAS, "steps": 16}

# The paper's: GPSI with T = 6, layers of 800 units, 100 latents.
SEQUENTIAL_IMPUTER = {
    "network": "feed_forward",
    "canvas": "additive",
    "mask": "mcar",
    "drop_rate": 0.8,
    "square_size": 14,  # pixels, for mask mar
    **CANVAS,
    "steps": 6,
    "units": 300,
}
# Grey images are scored by the cross-entropy, as in the paper. That is no likelihood.
_GREY_IMPUTER = {"likelihood": "cross_entropy", "binarization": "none"}

_DIGITS_GAME = {"epochs": 300, "picture_every": 30, "batch_size": 50}
_DIGITS_GAN = {"latent_dim": 20, "hidden_units": (128, 128), "critic_units": (64, 64), **_DIGITS_GAME}


RECURRENT_ATTENTION = {
    "num_classes": 10,
    "glimpses": 6,
    "glimpse_size": 8,
    "glimpse_scales": 1,
    "location_std": 0.15,  # (-1, -1) and (1, 1) are the image's corners
    "units": 256,
    "sensor_units": 128,
    "places": "learned",  # random: what a policy must beat
    "objective": "nvil",
    "num_samples": 1,  # passes over an image in the objective
    **TRAINING,
}

_ON_CANVAS = {"glimpse_size": 12, "glimpse_scales": 3, "epochs": 200}

RECURRENT_ATTENTION_FOR_DATA = {
    "digits": {"glimpse_size": 2, "units": 64, "sensor_units": 32, "learning_rate": 3e-3, "epochs": 200, "picture_every": 20},
    "translated:mnist": _ON_CANVAS,
    "cluttered:mnist": _ON_CANVAS,
}


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="vae",
            family="vae",
            summary="variational autoencoder, ELBO",
            settings=VAE,
            for_data=VAE_FOR_DATA,
            published="86.76 nats: test NLL, MNIST, dynamic binarisation, K = 5000",
            reference=f"{KINGMA_2014}; figure from {BURDA_2016}",
        ),
        Recipe(
            name="iwae",
            family="vae",
            summary="the same model, importance weighted bound of 5 samples",
            settings={**VAE, "objective": "iwae", "num_samples": 5},
            for_data=VAE_FOR_DATA,
            published="85.54 nats: test NLL, MNIST, dynamic binarisation, K = 5000",
            reference=BURDA_2016,
        ),
        Recipe(
            name="convolutional_vae",
            family="vae",
            summary="variational autoencoder with convolutional networks",
            settings={
                **VAE,
                "encoder": "convolutional",
                "decoder": "convolutional",
                "hidden_units": (32, 64),  # channels of the stages
                "activation": "relu",
            },
            for_data={**VAE_FOR_DATA, "digits": {**VAE_FOR_DATA["digits"], "hidden_units": (32, 64)}},
            reference=KINGMA_2014,
        ),
        Recipe(
            name="linear_vae",
            family="vae",
            summary="VAE without hidden layers, a baseline like factor analysis",
            settings={**VAE, "hidden_units": ()},
            for_data={**VAE_FOR_DATA, "digits": {**VAE_FOR_DATA["digits"], "hidden_units": ()}},
            reference=TIPPING_1999,
        ),
        _belief_network(
            "wake_sleep",
            "sigmoid belief network of one layer, wake-sleep",
            "",
            HINTON_1995,
            digits_units=(30,),
            units=(200,),
            objective="wake_sleep",
            num_samples=1,
        ),
        _belief_network(
            "reweighted_wake_sleep",
            "sigmoid belief network of three layers, reweighted wake-sleep with 5 samples",
            "",
            BORNSCHEIN_2015,
            units=(200, 200, 200),
        ),
        _belief_network(
            "vimco",
            "sigmoid belief network of three layers, VIMCO with 5 samples",
            "",
            MNIH_2016,
            units=(200, 200, 200),
            objective="vimco",
        ),
        _belief_network(
            "nvil",
            "sigmoid belief network of two layers, NVIL",
            "99.7 nats: negative bound, MNIST binarised once, one sample",
            f"{MNIH_2014}; figure from {GU_2016}",
            objective="nvil",
            num_samples=1,
        ),
        _belief_network(
            "muprop",
            "sigmoid belief network of two layers, MuProp",
            "100.4 nats: negative bound, MNIST binarised once, one sample",
            GU_2016,
            objective="muprop",
            num_samples=1,
        ),
        Recipe(
            name="muprop_half_image",
            family="structured_predictor",
            summary="the lower half of an image from its upper half, MuProp",
            settings={**PREDICTOR, "objective": "muprop", "num_samples": 1, "learning_rate": 3e-3},
            for_data=PREDICTOR_FOR_DATA,
            published="56.7 to 57.7 nats: lower half of MNIST, K = 100",
            reference=GU_2016,
        ),
        Recipe(
            name="gan",
            family="gan",
            summary="generative adversarial network with a maxout critic",
            settings=GAN,
            for_data={"digits": _DIGITS_GAN},
            published="225 +- 2 nats: Parzen log-likelihood, MNIST, 10,000 samples",
            reference=GOODFELLOW_2014,
        ),
        Recipe(
            name="dcgan",
            family="dcgan",
            summary="deep convolutional generative adversarial network, class-conditional on digits and mnist",
            settings=DCGAN,
            for_data={
                "colour": {"filters": (32, 64, 128)},
                "cifar10": {
                    "filters": (32, 64, 128),
                    "mirror": "left_right",
                    "epochs": 40,
                    "schedule": "cosine",
                    "average": 0.9995,
                    "picture_every": 5,
                },
                "digits": {"filters": (16, 32), "latent_dim": 20, "num_classes": 10, **_DIGITS_GAME},
                "mnist": {
                    "filters": (16, 32),
                    "dense_units": (128,),
                    "num_classes": 10,
                    "epochs": 25,
                    "schedule": "cosine",
                    "picture_every": 5,
                },
            },
            published="2.98 %: 1-nearest-neighbour error of 50,000 class-conditional samples, MNIST",
            reference=RADFORD_2016,
        ),
        Recipe(
            name="aae",
            family="adversarial_autoencoder",
            summary="adversarial autoencoder",
            settings=ADVERSARIAL_AUTOENCODER,
            for_data={"digits": {"hidden_units": (128, 128), "latent_dim": 6, **_DIGITS_GAME}},
            published="340 +- 2 nats: Parzen log-likelihood, MNIST, 10,000 samples",
            reference=MAKHZANI_2015,
        ),
        Recipe(
            name="aae_semi_supervised",
            family="adversarial_autoencoder",
            summary="adversarial autoencoder of a category and a style, taught by a few labels",
            settings={
                **ADVERSARIAL_AUTOENCODER,
                "latent_dim": 10,
                "categories": 10,
                "labelled": 1000,
                "prior_scale": 1.0,
                "epochs": 60,
            },
            for_data={"digits": {"hidden_units": (128, 128), "labelled": 100, **_DIGITS_GAME}},
            published="1.60 %: test error, MNIST, 1,000 labels",
            reference=MAKHZANI_2015,
        ),
        Recipe(
            name="draw",
            family="draw",
            summary="deep recurrent attentive writer, soft windows",
            settings=DRAW,
            for_data=_for_canvas({"read_size": 6, "write_size": 6}),
            published="80.97 nats: negative bound, MNIST binarised once, one sample, T = 64",
            reference=GREGOR_2015,
        ),
        Recipe(
            name="draw_no_attention",
            family="draw",
            summary="the same, seeing and writing the whole image at every step",
            settings={**DRAW, "attention": "none"},
            for_data=_for_canvas({}),
            published="87.40 nats: negative bound, MNIST binarised once, one sample, T = 64",
            reference=GREGOR_2015,
        ),
        Recipe(
            name="draw_hard",
            family="draw",
            summary="the same with windows at integer places, drawn by a policy that NVIL trains",
            settings={**DRAW, "attention": "hard", "read_size": 12, "write_size": 12, "objective": "nvil"},
            for_data=_for_canvas({"read_size": 6, "write_size": 6}),
            reference=f"{GREGOR_2015}; {MNIH_2014}",
        ),
        Recipe(
            name="sequential_generator",
            family="sequential_generator",
            summary="images by decisions of a learned policy, guided policy search",
            settings=SEQUENTIAL_GENERATOR,
            for_data=_for_canvas({}),
            published="86.2 nats: negative bound, MNIST binarised once, LSTM, additive canvas",
            reference=BACHMAN_2015,
        ),
        Recipe(
            name="sequential_imputer",
            family="sequential_imputer",
            summary="unknown pixels by decisions of a learned policy, 80 % of the pixels missing at random",
            settings=SEQUENTIAL_IMPUTER,
            for_data={
                **_for_canvas({**_GREY_IMPUTER, "square_size": 4}, **_GREY_IMPUTER),
                "grey": _GREY_IMPUTER,
            },
            published="80.5 nats: bound over missing pixels / 0.8, grey MNIST by cross-entropy, 10 samples, GPSI, additive",
            reference=BACHMAN_2015,
        ),
        Recipe(
            name="recurrent_attention",
            family="recurrent_attention",
            summary="classifies images from a few glimpses at places that it chooses (translated:mnist, cluttered:mnist too)",
            settings=RECURRENT_ATTENTION,
            for_data=RECURRENT_ATTENTION_FOR_DATA,
            published="1.12 %: test error, MNIST, 6 glimpses of 8x8; 1.22 % translated, 6 of 12x12x3; 4.08 % cluttered",
            reference=MNIH_HEESS_2014,
        ),
    )
}


def get_recipe(name):
    """The recipe of that name; ValueError with the nearest names where there is none."""
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return RECIPES[name]
