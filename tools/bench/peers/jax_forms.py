"""Ways to run a model's training step in JAX: jit of one step; vmap over members with a scan over steps. Each form
returns a function that starts STEPS_OF_SCAN steps, or one, of all members and returns what to wait for."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_models import BATCH, LABELS, NEURONS, CiIvae, PiVae

MODELS = {"pi-vae-60": PiVae, "ci-ivae-60": CiIvae}
STEPS_OF_SCAN = 10


def set_precision(precision):
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if precision == "tf32" else "float32")


def adam_step(loss, state, x, u):
    parameters, first, second, step, key = state
    key, of_step = jax.random.split(key)
    gradient = jax.grad(loss)(parameters, x, u, of_step)
    gradient = jax.tree.map(lambda g, p: g + 5e-6 * p, gradient, parameters)
    step = step + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    of_first, of_second = 1 - 0.9**step, 1 - 0.999**step
    parameters = jax.tree.map(
        lambda p, m, v: p - 1e-4 * (m / of_first) / (jnp.sqrt(v / of_second) + 1e-8), parameters, first, second
    )
    return parameters, first, second, step, key


def beginning(model, seed):
    """Parameters, both moments, steps, and the key of the noise, in the host's memory."""
    parameters = model.parameters(np.random.default_rng(seed))
    nothing = jax.tree.map(np.zeros_like, parameters)
    return parameters, nothing, nothing, np.float32(0), np.array([0, seed], np.uint32)


def batch():
    random = np.random.default_rng(0)
    return random.poisson(0.2, (BATCH, NEURONS)).astype(np.float32), random.uniform(size=(BATCH, LABELS)).astype(
        np.float32
    )


def looped(many, state, x, u):
    """Runs `many`, which takes over the memory of its state, again and again. The batch is an argument: as a constant
    it would be compiled in."""
    run_many, held = jax.jit(many, donate_argnums=0), [jax.device_put(state)]
    x, u = jax.device_put((x, u))

    def run():
        held[0] = run_many(held[0], x, u)
        return held[0]

    return run


def jit(name):
    model = MODELS[name]()
    return looped(lambda state, x, u: adam_step(model.loss, state, x, u), beginning(model, 0), *batch())


def vmap_scan(name, n_members):
    model = MODELS[name]()
    states = jax.tree.map(lambda *values: np.stack(values), *(beginning(model, seed) for seed in range(n_members)))
    step = jax.vmap(lambda state, x, u: adam_step(model.loss, state, x, u))

    def many(states, x, u):
        return jax.lax.scan(lambda states, _: (step(states, x, u), None), states, None, length=STEPS_OF_SCAN)[0]

    return looped(many, states, *(np.stack([values] * n_members) for values in batch()))
