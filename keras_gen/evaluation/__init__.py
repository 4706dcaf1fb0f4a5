"""Figures that can be trusted: each comes with its protocol and its standard error."""

from keras_gen.evaluation.annealing import annealed_importance_sampling, simulated_sandwich
from keras_gen.evaluation.bound import BoundReport, explain_bound
from keras_gen.evaluation.divergence import DensityRatio, density_ratio, jensen_shannon
from keras_gen.evaluation.estimators import EstimatorReport, estimator_report
from keras_gen.evaluation.features import FeatureNetwork
from keras_gen.evaluation.imputation import ImputationScore, imputation_score
from keras_gen.evaluation.likelihood import LogLikelihood, log_likelihood
from keras_gen.evaluation.samples import (
    frechet_distance,
    nearest_neighbour_error,
    parzen_bandwidth,
    parzen_log_likelihood,
    parzen_per_image,
    precision_recall,
    sharpness,
)
from keras_gen.evaluation.score import ProtocolError, Score

__all__ = [
    "BoundReport",
    "DensityRatio",
    "EstimatorReport",
    "FeatureNetwork",
    "ImputationScore",
    "LogLikelihood",
    "ProtocolError",
    "Score",
    "annealed_importance_sampling",
    "density_ratio",
    "estimator_report",
    "explain_bound",
    "frechet_distance",
    "imputation_score",
    "jensen_shannon",
    "log_likelihood",
    "nearest_neighbour_error",
    "parzen_bandwidth",
    "parzen_log_likelihood",
    "parzen_per_image",
    "precision_recall",
    "sharpness",
    "simulated_sandwich",
]
