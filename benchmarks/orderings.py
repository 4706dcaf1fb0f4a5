"""The orderings that the literature reports, on digits: `python -m benchmarks orderings`.

Same network, data, steps and optimiser; what differs is the objective. Test negative log-likelihood by importance sampling,
mean and standard error over seeds of training.
"""

import math
import statistics

SEEDS = (0, 1, 2)
EPOCHS = 200
UNITS = (30, 10)
NUM_SAMPLES = 1000

#: Chains of names, each with a negative log-likelihood that is no greater than the next one's.
ORDERS = (
    ("reweighted, both", "reweighted, wake q", "reweighted, sleep q", "reweighted, q untrained"),
    ("reweighted, both", "wake-sleep"),
    ("IWAE(5)", "VAE"),
)


def objectives():
    """name to (model's name, objective)."""
    from keras_gen import objectives as of

    reweighted = of.ReweightedWakeSleep
    return {
        "reweighted, both": ("belief network", reweighted(5)),
        "reweighted, wake q": ("belief network", reweighted(5, sleep_q=False)),
        "reweighted, sleep q": ("belief network", reweighted(5, wake_q=False)),
        "reweighted, q untrained": ("belief network", reweighted(5, wake_q=False, sleep_q=False)),
        "wake-sleep": ("belief network", of.WakeSleep()),
        "VIMCO(5)": ("belief network", of.VIMCO(5)),
        "NVIL": ("belief network", of.NVIL()),
        "MuProp": ("belief network", of.MuProp()),
        "IWAE(5)": ("VAE", of.IWAE(5)),
        "VAE": ("VAE", of.ELBO()),
    }


def run(say=print, seeds=SEEDS, epochs=EPOCHS, only=None):
    """name to {"model", "nll": one a seed, "mean", "standard_error"}, and the protocol: JSON values."""
    import keras

    import keras_gen as kg
    import training.data

    data = training.data.load("digits")
    train, test = (training.data.fixed_images(part, "threshold") for part in (data.train, data.test))
    found = {}
    for name, (kind, objective) in objectives().items():
        if only and name not in only:
            continue
        values = []
        for seed in seeds:
            keras.utils.set_random_seed(seed)
            if kind == "VAE":
                model = kg.VAE(data.shape, latent_dim=6, hidden_units=(200, 100), seed=seed)
            else:
                model = kg.SigmoidBeliefNetwork(data.shape, units=UNITS, seed=seed)
            steps = epochs * math.ceil(len(train) / 100)
            model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)), objective)
            model.fit(train, batch_size=100, epochs=epochs, verbose=0)
            estimate = kg.evaluation.log_likelihood(model, test, num_samples=NUM_SAMPLES, progress=False)
            values.append(-estimate.mean)
        error = statistics.stdev(values) / math.sqrt(len(values))
        found[name] = {"model": kind, "nll": values, "mean": statistics.mean(values), "standard_error": error}
        say(f"{name}: {found[name]['mean']:.2f} +- {error:.2f}")
    protocol = f"digits, threshold binarisation, {epochs} epochs of batches of 100, Adam 3e-3 to 0; test, K = {NUM_SAMPLES}"
    return {"protocol": f"{protocol}; belief network {'-'.join(map(str, UNITS))} from the data upward", "results": found}


def markdown(results):
    """The table, and a line on each order."""
    found = results["results"]
    lines = [f"{results['protocol']}; mean and standard error over {len(SEEDS)} seeds.", ""]
    lines += ["| model | objective | nats an image |", "| --- | --- | --- |"]
    for name, own in found.items():
        lines.append(f"| {own['model']} | {name} | {own['mean']:.2f} ± {own['standard_error']:.2f} |")
    lines.append("")
    for order in ORDERS:
        pairs = zip(order, order[1:], strict=False)
        signs = [relation(found[better], found[worse]) for better, worse in pairs]
        lines.append("- " + order[0] + "".join(f" {sign} {name}" for sign, name in zip(signs, order[1:], strict=True)))
    return "\n".join(lines) + "\n"


def relation(better, worse):
    """"<" where the means differ by more than two standard errors, "~" within them, ">" where the order is reversed."""
    error = math.hypot(better["standard_error"], worse["standard_error"])
    difference = worse["mean"] - better["mean"]
    return "<" if difference > 2 * error else "~" if difference > -2 * error else ">"
