"""Generators trained without a likelihood, against a critic: GAN, DCGAN and the adversarial autoencoder."""
