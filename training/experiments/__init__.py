"""Claims of the literature as experiments over seeds: `python -m training.experiments NAME`.

Each module has `run(say)`, which returns JSON values and files to write beside them, and `markdown(results)`, its part of the
README.
"""

import math
import statistics

SEEDS = (0, 1, 2)


def over_seeds(values):
    """{"values", "mean", "standard_error"} of one value a seed."""
    values = [float(value) for value in values]
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"values": values, "mean": statistics.mean(values), "standard_error": error}


def shown(figure, format=".3f"):
    """"mean ± standard error" of what `over_seeds` returns."""
    error = "" if figure["standard_error"] is None else f" ± {figure['standard_error']:{format}}"
    return f"{figure['mean']:{format}}{error}"
