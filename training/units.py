"""What the figures of an evaluation are measured in. Imports no TensorFlow."""

_NATS = "nats an image"
_UNITS = {
    **dict.fromkeys(("log_likelihood", "negative_log_likelihood", "gain", "elbo", "bound", "reconstruction", "kl"), _NATS),
    "normalized_bound": _NATS,
    "bits_per_dimension": "bits a pixel value",
    "effective_sample_size": "samples",
}


def unit_of(figure):
    """The unit of a figure by its name; "" for a share or a distance, which has none, and where the name tells it."""
    return _UNITS.get(figure, "")
