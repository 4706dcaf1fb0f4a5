"""Figures that can be trusted: each comes with its protocol and its standard error."""

from keras_gen.evaluation.likelihood import LogLikelihood, log_likelihood

__all__ = ["LogLikelihood", "log_likelihood"]
