"""Objectives: bounds and estimators. Traces in, a loss and the reported figures out; they know no architecture."""

from keras_gen.objectives.elbo import ELBO
from keras_gen.objectives.importance import IWAE
from keras_gen.objectives.objective import Estimate, Objective

__all__ = ["ELBO", "IWAE", "Estimate", "Objective"]
