"""Checks of arguments, other than images."""

import numbers
from collections.abc import Iterable

INT32 = -(2**31), 2**31 - 1


def is_integer(value):
    """Whether `value` is an integer, numpy's included; a bool is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_integers(least=1, owner="", why="", **values):
    """The values as Python's ints, in their order; a ValueError where one is no integer of at least `least`.

    Args:
        least: the least value allowed.
        owner: name of the class or function that they are for; "" where the names say enough.
        why: what it is needed for, to end the error's text.
        values: name to value; None is no integer.
    """
    for name, value in values.items():
        if not is_integer(value) or value < least:
            given = f"{owner}({name}={value!r})" if owner else f"{name}={value!r}"
            raise ValueError(f"{given}: an integer of at least {least} is needed{why and '; '}{why}.")
    return [int(value) for value in values.values()]


def check_sizes(name, values, what="the units of each layer", least=0, optional=False):
    """`values` as a tuple of Python's ints; one integer stands for a tuple of one, and None, where `optional`, for itself.

    Raises:
        ValueError: other than positive integers, or fewer than `least`; it names `name`, and `what` they are.
    """
    if optional and values is None:
        return None
    sizes = (values,) if is_integer(values) else values
    if not isinstance(sizes, Iterable) or not all(is_integer(size) and size > 0 for size in sizes) or len(sizes) < least:
        raise ValueError(f"{name}={values!r}: {what}, positive integers{f', at least {least}' if least else ''}.")
    return tuple(int(size) for size in sizes)


def check_dropout(**values):
    """Raises a ValueError where a value is no probability below 1; `values`: name to value."""
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not 0.0 <= value < 1.0:
            raise ValueError(f"{name}={value!r}: a probability from 0, and less than 1.")


def check_key(seed):
    """`seed` as Python's int; a ValueError unless it is an integer of 32 bits: the noise is keyed by such words."""
    least, most = INT32
    if not is_integer(seed) or not least <= seed <= most:
        raise ValueError(f"seed={seed!r}: a seed is a 32-bit integer, from {least} to {most}.")
    return int(seed)


def check_kind(model, kind, why):
    """Raises a ValueError unless `model` is a `kind`; `why` ends the error's text."""
    if not isinstance(model, kind):
        raise ValueError(f"model is a {type(model).__name__}: a {kind.__name__} is needed, {why}.")
