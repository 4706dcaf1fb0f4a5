"""keras_gen: the classical latent-variable image generators, trained with Keras, sampled the same in every runtime."""

from keras_gen import callbacks, conditionals, evaluation, noise, objectives
from keras_gen.adversarial.autoencoder import AdversarialAutoencoder
from keras_gen.adversarial.game import Game
from keras_gen.adversarial.gan import DCGAN, GAN
from keras_gen.helmholtz.belief_network import SigmoidBeliefNetwork
from keras_gen.helmholtz.machine import HelmholtzMachine
from keras_gen.helmholtz.structured import StructuredPredictor
from keras_gen.helmholtz.vae import VAE
from keras_gen.sequential.decision import SequentialGenerator
from keras_gen.sequential.draw import DRAW
from keras_gen.sequential.glimpse import RecurrentAttentionClassifier
from keras_gen.sequential.imputer import SequentialImputer

__version__ = "0.1.0"

__all__ = [
    "DCGAN",
    "DRAW",
    "GAN",
    "VAE",
    "AdversarialAutoencoder",
    "Game",
    "HelmholtzMachine",
    "RecurrentAttentionClassifier",
    "SequentialGenerator",
    "SequentialImputer",
    "SigmoidBeliefNetwork",
    "StructuredPredictor",
    "callbacks",
    "conditionals",
    "evaluation",
    "noise",
    "objectives",
]
