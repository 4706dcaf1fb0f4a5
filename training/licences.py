"""Where known data come from and under which licence: what a model card has to say, and whoever ships the model to check."""

from training import placed

NOT_RECORDED = "not recorded: state it with keras-gen export --data-licence TEXT"

#: (source, licence) by the name that `training.data.load` takes.
KNOWN = {
    "digits": (
        "Optical recognition of handwritten digits (Alpaydin, Kaynak; UCI, 1998), the test part, as scikit-learn ships it",
        "CC BY 4.0",
    ),
    "mnist": ("MNIST (LeCun, Cortes, Burges)", "CC BY-SA 3.0, as is commonly stated; its site names none"),
    "binarized_mnist": (
        "MNIST, binarised by Larochelle (Salakhutdinov, Murray 2008)",
        "that of MNIST: CC BY-SA 3.0, as is commonly stated",
    ),
    "cifar10": (
        "CIFAR-10 (Krizhevsky 2009), a part of 80 million tiny images, which has been withdrawn",
        "none is stated; in use for research",
    ),
}


def provenance(spec, licence=None):
    """`source` and `licence` of the data `spec`, as `training.data.load` takes it; `licence` as stated by the user, or None."""
    kind, _, rest = spec.partition(":")
    if kind in placed.KINDS:
        return provenance(rest, licence)
    source, known = KNOWN.get(spec.partition("/")[0], (spec, NOT_RECORDED))
    return {"source": source, "licence": licence or known}
