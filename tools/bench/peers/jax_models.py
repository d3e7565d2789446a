"""pi-VAE's and the CI-iVAE's training steps in JAX, the same work as pi_vae.py and ci_ivae.py: functions of a tree of
parameters."""

import jax
import jax.numpy as jnp
import numpy as np

NEURONS, LABELS, LATENTS, BATCH, DRAWS, BETA = 120, 3, 2, 200, 50, 0.01


def layers(random, widths):
    """Made by NumPy: of each array JAX would compile a program."""
    made = []
    for n_in, n_out in zip(widths[:-1], widths[1:]):
        bound = n_in**-0.5
        made.append(
            (
                random.uniform(-bound, bound, (n_in, n_out)).astype(np.float32),
                random.uniform(-bound, bound, n_out).astype(np.float32),
            )
        )
    return made


def passed(parameters, x, activation):
    for weight, bias in parameters[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


class PiVae:
    def __init__(self):
        self.orders = [np.random.default_rng(block).permutation(NEURONS) for block in range(2)]

    def parameters(self, random):
        kept = NEURONS // 2
        return {
            "mean": layers(random, [NEURONS, 60, 60, LATENTS]),
            "log_var": layers(random, [NEURONS, 60, 60, LATENTS]),
            "prior": layers(random, [LABELS, 20, 20, 2 * LATENTS]),
            "lift": layers(random, [LATENTS, 30, 30, NEURONS - LATENTS]),
            "couplings": [layers(random, [kept, 30, 30, 2 * (NEURONS - kept) - 1]) for _ in range(4)],
        }

    def coupling(self, parameters, y):
        kept = NEURONS // 2
        first, second = y[:, :kept], y[:, kept:]
        out = passed(parameters, first, jax.nn.relu)
        scale = 0.1 * jnp.tanh(out[:, : NEURONS - kept - 1])
        scale = jnp.concatenate([scale, -scale.sum(1, keepdims=True)], 1)
        return jnp.concatenate([second * jnp.exp(scale) + out[:, NEURONS - kept - 1 :], first], 1)

    def loss(self, parameters, x, u, key):
        of_input, of_sample = jax.random.split(key)
        seen = x + 0.01 * jax.random.normal(of_input, x.shape)
        mean, log_var = passed(parameters["mean"], seen, jnp.tanh), passed(parameters["log_var"], seen, jnp.tanh)
        prior_mean, prior_log_var = jnp.split(passed(parameters["prior"], u, jnp.tanh), 2, 1)
        gap = log_var - prior_log_var
        weight = jax.nn.sigmoid(gap)
        post_mean, post_log_var = mean + weight * (prior_mean - mean), log_var - jax.nn.softplus(gap)
        z = post_mean + jnp.exp(0.5 * post_log_var) * jax.random.normal(of_sample, mean.shape)
        y = jnp.concatenate([z, passed(parameters["lift"], z, jax.nn.relu)], 1)
        for block, order in enumerate(self.orders):
            for half in range(2):
                y = self.coupling(parameters["couplings"][2 * block + half], y[:, order] if half == 0 else y)
        rate = jax.nn.softplus(y)
        reconstruction = (rate - x * jnp.log(rate)).sum(1)
        kl = 0.5 * (jax.nn.softplus(-gap) + weight + (post_mean - prior_mean) ** 2 * jnp.exp(-prior_log_var) - 1).sum(1)
        return (reconstruction + BETA * kl).mean()


def kl(mean, log_var, to_mean, to_log_var):
    gap = log_var - to_log_var
    return 0.5 * (jnp.exp(gap) - gap - 1 + (mean - to_mean) ** 2 * jnp.exp(-to_log_var)).mean(1)


def log_density(z, mean, log_var):
    return (-0.5 * (log_var + (z - mean) ** 2 * jnp.exp(-log_var))).sum(1)


class CiIvae:
    """60 wide; all alphas at once."""

    def parameters(self, random):
        return {
            "trunk": layers(random, [NEURONS, 60, 60]),
            "mean": layers(random, [60, LATENTS]),
            "log_var": layers(random, [60, LATENTS]),
            "prior_mean": layers(random, [LABELS, 60, 60, LATENTS]),
            "prior_log_var": layers(random, [LABELS, 60, 60, LATENTS]),
            "decoder": layers(random, [LATENTS, 60, 60, NEURONS]),
        }

    def loss(self, parameters, x, u, key):
        keys = jax.random.split(key, 4)
        x = x + 0.01 * jax.random.normal(keys[0], x.shape)
        hidden = jnp.tanh(passed(parameters["trunk"], x, jnp.tanh))
        mean, log_var = passed(parameters["mean"], hidden, jnp.tanh), passed(parameters["log_var"], hidden, jnp.tanh)
        prior_mean, prior_log_var = passed(parameters["prior_mean"], u, jnp.tanh), passed(
            parameters["prior_log_var"], u, jnp.tanh
        )
        gap = log_var - prior_log_var
        post_mean, post_log_var = mean + jax.nn.sigmoid(gap) * (prior_mean - mean), log_var - jax.nn.softplus(gap)

        def of_sample(key, mean, log_var):
            z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
            decoded = jax.nn.sigmoid(passed(parameters["decoder"], z, jnp.tanh))
            return ((decoded - x) ** 2).mean(1) + BETA * kl(mean, log_var, prior_mean, prior_log_var)

        of_encoder, of_posterior = of_sample(keys[1], mean, log_var), of_sample(keys[2], post_mean, post_log_var)
        noise = jax.random.normal(keys[3], (*mean.shape, DRAWS))
        encoder, posterior = (mean[..., None], log_var[..., None]), (post_mean[..., None], post_log_var[..., None])
        at_encoder, at_posterior = (m + jnp.exp(0.5 * v) * noise for m, v in (encoder, posterior))
        ratio_posterior = (log_density(at_posterior, *encoder) - log_density(at_posterior, *posterior))[..., None]
        ratio_encoder = (log_density(at_encoder, *posterior) - log_density(at_encoder, *encoder))[..., None]
        alpha = jnp.arange(1, 40) / 40
        skew_posterior = -jnp.abs(jnp.logaddexp(jnp.log(1 - alpha), jnp.log(alpha) + ratio_posterior).mean(1))
        skew_encoder = -jnp.abs(jnp.logaddexp(jnp.log(alpha), jnp.log(1 - alpha) + ratio_encoder).mean(1))
        grid = (
            alpha * of_encoder[:, None]
            + (1 - alpha) * of_posterior[:, None]
            - alpha * skew_encoder
            - (1 - alpha) * skew_posterior
        )
        return grid.min(1).mean()
