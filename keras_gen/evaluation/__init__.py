"""Figures that can be trusted: each comes with its protocol and its standard error."""

from keras_gen.evaluation.annealing import annealed_importance_sampling, simulated_sandwich
from keras_gen.evaluation.bound import BoundReport, explain_bound
from keras_gen.evaluation.estimators import EstimatorReport, estimator_report
from keras_gen.evaluation.likelihood import LogLikelihood, log_likelihood

__all__ = [
    "BoundReport",
    "EstimatorReport",
    "LogLikelihood",
    "annealed_importance_sampling",
    "estimator_report",
    "explain_bound",
    "log_likelihood",
    "simulated_sandwich",
]
