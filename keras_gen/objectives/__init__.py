"""Objectives: bounds and estimators. Traces in, a loss and the reported figures out; they know no architecture."""

from keras_gen.objectives.elbo import ELBO
from keras_gen.objectives.importance import IWAE
from keras_gen.objectives.muprop import MuProp
from keras_gen.objectives.nvil import NVIL
from keras_gen.objectives.objective import Estimate, Objective
from keras_gen.objectives.reweighted import ReweightedWakeSleep
from keras_gen.objectives.score_function import ScoreFunction
from keras_gen.objectives.vimco import VIMCO
from keras_gen.objectives.wake_sleep import WakeSleep

__all__ = [
    "ELBO",
    "IWAE",
    "NVIL",
    "VIMCO",
    "Estimate",
    "MuProp",
    "Objective",
    "ReweightedWakeSleep",
    "ScoreFunction",
    "WakeSleep",
]
