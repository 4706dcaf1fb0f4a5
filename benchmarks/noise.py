"""The noise of a step that ports must reproduce: all that is drawn, one after the other, in one array."""

import math


def split(noise, shapes):
    """One array for each of `shapes`, the draws in their order."""
    arrays, first = [], 0
    for shape in shapes:
        arrays.append(noise[first : first + math.prod(shape)].reshape(shape))
        first += math.prod(shape)
    return arrays
