"""Training in JAX and optax: what all families share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contender import Contender


class JAXContender(Contender):
    """`jit` of a step. A family says what a step draws and what its loss is; parameters are a list in our model's order."""

    def __init__(self, settings, weights, images, validation):
        self.optimizer = optax.adam(1e-3, eps=1e-7)
        super().__init__(settings, weights, jnp.asarray(images), jnp.asarray(validation))
        self._step = jax.jit(self.step, donate_argnums=0)
        self._bound = jax.jit(self._value_bound)

    def draw(self, key, batch):
        """The noise of a step."""
        raise NotImplementedError

    def given(self, noise, batch):
        """The same from the array of a reference."""
        raise NotImplementedError

    def loss(self, parameters, x, noise):
        """The mean over the batch; its value is minus the bound."""
        raise NotImplementedError

    def reset(self):
        parameters = [jnp.array(weight) for weight in self.weights]
        self.state = (parameters, self.optimizer.init(parameters), jax.random.key(0))
        self._order = np.random.default_rng(0)

    def step(self, state, images, indices):
        """(parameters, optimiser's state, key) and the step's images by their indices: (the next state, loss)."""
        parameters, moments, key = state
        key, draw = jax.random.split(key)
        x = images[indices]
        value, gradient = jax.value_and_grad(self.loss)(parameters, x, self.draw(draw, len(x)))
        updates, moments = self.optimizer.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, key), value

    def permutation(self):
        return self._order.permutation(len(self.images)).astype(np.int32).reshape(-1, self.settings["batch"])

    def epoch(self):
        for indices in self.permutation():
            self.state, _ = self._step(self.state, self.images, indices)
        jax.block_until_ready(self.state)

    def _value_bound(self, parameters, validation):
        return -self.loss(parameters, validation, self.draw(jax.random.key(1), len(validation)))

    def bound(self):
        return float(self._bound(self.state[0], self.validation))

    def loss_and_gradient(self, images, noise):
        value, gradient = jax.value_and_grad(self.loss)(self.state[0], images, self.given(noise, len(images)))
        return float(value), [np.asarray(part) for part in gradient]


class Scanned:
    """Before a `JAXContender`: `lax.scan` over the batches of an epoch."""

    def __init__(self, *args):
        super().__init__(*args)
        self._epoch = jax.jit(self._scan, donate_argnums=0)

    def _scan(self, state, images, indices):
        return jax.lax.scan(functools.partial(self._body, images), state, indices)

    def _body(self, images, state, indices):
        return self.step(state, images, indices)

    def epoch(self):
        self.state, losses = self._epoch(self.state, self.images, self.permutation())
        jax.block_until_ready(losses)
