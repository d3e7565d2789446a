"""Ways to run a model's training step in JAX: jit of one step; vmap over members with a scan over steps. Each form returns a function that starts
STEPS_OF_SCAN steps, or one, of all members and returns what to wait for."""
import jax
import jax.numpy as jnp

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
    of_first, of_second = 1 - 0.9 ** step, 1 - 0.999 ** step
    parameters = jax.tree.map(lambda p, m, v: p - 1e-4 * (m / of_first) / (jnp.sqrt(v / of_second) + 1e-8), parameters, first, second)
    return parameters, first, second, step, key


def beginning(model, key):
    parameters = model.parameters(key)
    nothing = jax.tree.map(jnp.zeros_like, parameters)
    return parameters, nothing, jax.tree.map(jnp.copy, nothing), jnp.float32(0), key


def batch():
    x = jax.random.poisson(jax.random.key(1, impl="threefry2x32"), 0.2, (BATCH, NEURONS)).astype(jnp.float32)
    return x, jax.random.uniform(jax.random.key(2), (BATCH, LABELS))


def looped(many, state):
    """Runs `many`, which takes over the memory of its state, again and again."""
    held = [state]

    def run():
        held[0] = many(held[0])
        return held[0]
    return run


def jit(name):
    model, (x, u) = MODELS[name](), batch()
    return looped(jax.jit(lambda state: adam_step(model.loss, state, x, u), donate_argnums=0), beginning(model, jax.random.key(0)))


def vmap_scan(name, n_members):
    model, (x, u) = MODELS[name](), batch()
    x, u = (jnp.stack([values] * n_members) for values in (x, u))
    states = jax.vmap(lambda key: beginning(model, key))(jax.random.split(jax.random.key(0), n_members))
    step = jax.vmap(lambda state, x, u: adam_step(model.loss, state, x, u))

    def many(states):
        return jax.lax.scan(lambda states, _: (step(states, x, u), None), states, None, length=STEPS_OF_SCAN)[0]
    return looped(jax.jit(many, donate_argnums=0), states)
