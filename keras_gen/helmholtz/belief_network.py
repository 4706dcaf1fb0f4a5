"""The sigmoid belief network."""

import keras

from keras_gen import conditionals
from keras_gen.checks import check_sizes
from keras_gen.helmholtz.machine import HelmholtzMachine

LAYERS = {"factorial": conditionals.Bernoulli, "autoregressive": conditionals.AutoregressiveBernoulli}


@keras.saving.register_keras_serializable("keras_gen")
class SigmoidBeliefNetwork(HelmholtzMachine):
    """Layers of binary units, each with logits linear in the layer above; recognition the same from the data upward.

    ```python
    model = keras_gen.SigmoidBeliefNetwork(data_shape=(28, 28, 1), units=(200, 200, 10))
    model.compile(optimizer="adam", objective=keras_gen.objectives.ReweightedWakeSleep(num_samples=5))
    ```

    Args:
        data_shape: (H, W, C).
        units: units of the latent layers **from the data upward**: (200, 200, 10) has 10 at the top. Papers write the same
            network 10-200-200.
        generative, recognition: "factorial", units independent given the layer that they see; or "autoregressive", each with
            weights from those before it in its layer too (as in DARN). The data's layer is one of the generative ones.
        binarization, seed: see `HelmholtzMachine`.

    Neal: Connectionist learning of belief networks. Artificial Intelligence 56, 1992.
    Bornschein, Bengio: Reweighted wake-sleep. ICLR 2015, section 3 and table 1.
    """

    def __init__(
        self,
        data_shape,
        units=(200,),
        generative="factorial",
        recognition="factorial",
        binarization="auto",
        seed=None,
        **kwargs,
    ):
        units = check_sizes("units", units, "the units of each latent layer from the data upward", least=1)
        for name, value in (("generative", generative), ("recognition", recognition)):
            if value not in LAYERS:
                raise ValueError(f"{name}={value!r}: one of {', '.join(map(repr, LAYERS))}.")
        inner = {"dtype": kwargs.get("dtype")}
        draws, infers = LAYERS[generative], LAYERS[recognition]
        depths = range(len(units), 0, -1)
        super().__init__(
            generative=[
                *(draws(units[depth - 1], name=f"generative_{depth}", **inner) for depth in depths),
                draws(tuple(data_shape), name="generative_0", **inner),
            ],
            recognition=[infers(size, name=f"recognition_{depth + 1}", **inner) for depth, size in enumerate(units)],
            binarization=binarization,
            seed=seed,
            **kwargs,
        )
        self.units = units
        self._layer_kinds = {"generative": generative, "recognition": recognition}

    def get_config(self):
        return {**super().get_config(), "data_shape": self.data_shape, "units": self.units, **self._layer_kinds}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
