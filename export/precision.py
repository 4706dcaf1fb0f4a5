"""A float32 copy of a model that was trained in half precision."""


def full_precision(model):
    """Returns `model`, or a copy of it with the same weights that computes in float32, if it computes in half precision.

    Weights are float32 under every policy. LiteRT has no half-precision operators, and half-precision sums differ between
    runtimes by far more than float32 ones.
    """
    policy = getattr(model, "dtype_policy", None)
    if policy is None or policy.compute_dtype == "float32":
        return model
    import keras

    record = keras.saving.serialize_keras_object(model)
    record.pop("compile_config", None)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float32")  # For layers that name no policy.
        copy = keras.saving.deserialize_keras_object(_with_float32(record))
    finally:
        keras.config.set_dtype_policy(before)
    for target, source in zip(copy.generator.variables, model.generator.variables, strict=True):
        target.assign(source.value)
    return copy


def _with_float32(record):
    """A configuration with every dtype policy in it replaced."""
    if isinstance(record, dict):
        if record.get("class_name") == "DTypePolicy":
            return {**record, "config": {**record["config"], "name": "float32"}}
        return {key: _with_float32(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return type(record)(_with_float32(value) for value in record)
    return record
