"""The CI-iVAE's training step in PyTorch, the same work as idem's step/ci-ivae: 39 alphas, 50 Monte-Carlo draws, the
published objective.

Twice: "loop" evaluates one alpha after the other and materialises each mixture, the natural way to write it (and how
the released program is organised); else all alphas go in one broadcast expression in log space, the best form we know.
"""

import torch
from torch import nn

NEURONS, LABELS, LATENTS, BATCH, DRAWS, BETA = 120, 3, 2, 200, 50, 0.01
ALPHAS = [i / 40 for i in range(1, 40)]
SHAPES = {"ci-ivae-60": (60, 60, nn.Tanh), "ci-ivae-4096": (4096, 128, lambda: nn.LeakyReLU(0.2))}


def network(widths, activation, last=None):
    layers = []
    for n_in, n_out in zip(widths[:-2], widths[1:-1]):
        layers += [nn.Linear(n_in, n_out), activation()]
    layers.append(nn.Linear(widths[-2], widths[-1]))
    if last:
        layers.append(last())
    return nn.Sequential(*layers)


def kl(mean, log_var, to_mean, to_log_var):
    gap = log_var - to_log_var
    return 0.5 * (gap.exp() - gap - 1 + (mean - to_mean) ** 2 * (-to_log_var).exp()).mean(1)


def log_density(z, mean, log_var):
    return (-0.5 * (log_var + (z - mean) ** 2 * (-log_var).exp())).sum(1)


class CiIvae(nn.Module):
    def __init__(self, name, loop=False):
        super().__init__()
        width, prior_width, activation = SHAPES[name]
        self.loop = loop
        self.trunk = nn.Sequential(nn.Linear(NEURONS, width), activation(), nn.Linear(width, width), activation())
        self.mean, self.log_var = nn.Linear(width, LATENTS), nn.Linear(width, LATENTS)
        self.prior_mean = network([LABELS, prior_width, prior_width, LATENTS], activation)
        self.prior_log_var = network([LABELS, prior_width, prior_width, LATENTS], activation)
        self.decoder = network([LATENTS, width, width, NEURONS], activation, nn.Sigmoid)
        self.register_buffer("alphas", torch.tensor(ALPHAS))

    @staticmethod
    def batch():
        return torch.poisson(torch.full((BATCH, NEURONS), 0.2)), torch.rand(BATCH, LABELS)

    def forward(self, x, u):
        """The loss of a batch."""
        x = x + 0.01 * torch.randn_like(x)
        hidden = self.trunk(x)
        mean, log_var = self.mean(hidden), self.log_var(hidden)
        prior_mean, prior_log_var = self.prior_mean(u), self.prior_log_var(u)
        weight = torch.sigmoid(log_var - prior_log_var)
        post_mean = mean + weight * (prior_mean - mean)
        post_log_var = log_var - nn.functional.softplus(log_var - prior_log_var)
        z_encoder = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        z_posterior = post_mean + (0.5 * post_log_var).exp() * torch.randn_like(mean)
        of_encoder = ((self.decoder(z_encoder) - x) ** 2).mean(1) + BETA * kl(mean, log_var, prior_mean, prior_log_var)
        of_posterior = ((self.decoder(z_posterior) - x) ** 2).mean(1) + BETA * kl(
            post_mean, post_log_var, prior_mean, prior_log_var
        )
        ratios = self.log_ratios(mean, log_var, post_mean, post_log_var)
        return (
            (self.grid_one_by_one if self.loop else self.grid)(of_encoder, of_posterior, *ratios).min(1).values.mean()
        )

    @staticmethod
    def log_ratios(mean, log_var, post_mean, post_log_var):
        """Of draws of either posterior: log density under the other one less that under its own."""
        noise = torch.randn(*mean.shape, DRAWS, device=mean.device)
        encoder, posterior = (mean[..., None], log_var[..., None]), (post_mean[..., None], post_log_var[..., None])
        at_encoder = encoder[0] + (0.5 * encoder[1]).exp() * noise
        at_posterior = posterior[0] + (0.5 * posterior[1]).exp() * noise
        return (
            log_density(at_encoder, *posterior) - log_density(at_encoder, *encoder),
            log_density(at_posterior, *encoder) - log_density(at_posterior, *posterior),
        )

    def grid(self, of_encoder, of_posterior, ratio_encoder, ratio_posterior):
        alpha = self.alphas
        skew_posterior = -torch.logaddexp((1 - alpha).log(), alpha.log() + ratio_posterior[..., None]).mean(1).abs()
        skew_encoder = -torch.logaddexp(alpha.log(), (1 - alpha).log() + ratio_encoder[..., None]).mean(1).abs()
        return (
            alpha * of_encoder[:, None]
            + (1 - alpha) * of_posterior[:, None]
            - alpha * skew_encoder
            - (1 - alpha) * skew_posterior
        )

    @staticmethod
    def grid_one_by_one(of_encoder, of_posterior, log_ratio_encoder, log_ratio_posterior):
        columns = []
        for alpha in ALPHAS:
            ratio_posterior, ratio_encoder = log_ratio_posterior.exp(), log_ratio_encoder.exp()
            skew_posterior = (-(alpha * ratio_posterior + 1 - alpha).log()).mean(1).abs()
            skew_encoder = (-(alpha + (1 - alpha) * ratio_encoder).log()).mean(1).abs()
            columns.append(
                alpha * of_encoder + (1 - alpha) * of_posterior + alpha * skew_encoder + (1 - alpha) * skew_posterior
            )
        return torch.stack(columns, 1)
