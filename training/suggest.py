"""One wording for names that do not exist: what was given, the nearest that do, and all that do."""

import difflib


def unknown(kind, given, allowed, show_all=True):
    """The message for an unknown name.

    Args:
        kind: what the name should have named, say "recipe".
        given: the name as passed.
        allowed: the names that exist.
        show_all: whether to list all of them, or only the nearest.

    Returns:
        str, one line.
    """
    allowed = sorted(set(allowed))
    near = difflib.get_close_matches(given, allowed, n=3, cutoff=0.5)
    message = f"unknown {kind} {given!r}"
    if near:
        message += f": did you mean {' or '.join(map(repr, near))}?"
    if show_all:
        message += f" (allowed: {', '.join(allowed)})"
    return message
