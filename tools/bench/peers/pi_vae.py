"""pi-VAE's training step in PyTorch, the same work as idem's step/pi-vae-60: encoders for mean and log variance 60
wide, a label prior 20 wide, a flow decoder of two blocks of a permutation and two couplings 30 wide, Poisson counts.
Every coupling passes one network and one exponential.
"""

import torch
from torch import nn
from torch.nn.functional import softplus

NEURONS, LABELS, LATENTS, BATCH, BETA = 120, 3, 2, 200, 0.01
WIDTH, PRIOR_WIDTH, FLOW_WIDTH = 60, 20, 30


def network(n_in, width, n_out, activation):
    return nn.Sequential(
        nn.Linear(n_in, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, n_out)
    )


class Coupling(nn.Module):
    """[first, second] becomes [second * exp(scale) + shift, first]; the scales add up to nothing, so the volume
    stays."""

    def __init__(self):
        super().__init__()
        self.kept = NEURONS // 2
        self.changed = NEURONS - self.kept
        self.network = network(self.kept, FLOW_WIDTH, 2 * self.changed - 1, nn.ReLU)

    def forward(self, y):
        first, second = y[:, : self.kept], y[:, self.kept :]
        out = self.network(first)
        scale = 0.1 * torch.tanh(out[:, : self.changed - 1])
        scale = torch.cat([scale, -scale.sum(1, keepdim=True)], 1)
        return torch.cat([second * scale.exp() + out[:, self.changed - 1 :], first], 1)


class PiVae(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.log_var = (network(NEURONS, WIDTH, LATENTS, nn.Tanh) for _ in range(2))
        self.prior = network(LABELS, PRIOR_WIDTH, 2 * LATENTS, nn.Tanh)
        self.lift = network(LATENTS, FLOW_WIDTH, NEURONS - LATENTS, nn.ReLU)
        self.couplings = nn.ModuleList(Coupling() for _ in range(4))
        for block in range(2):
            self.register_buffer(f"order{block}", torch.randperm(NEURONS))

    @staticmethod
    def batch():
        return torch.poisson(torch.full((BATCH, NEURONS), 0.2)), torch.rand(BATCH, LABELS)

    def decode(self, z):
        y = torch.cat([z, self.lift(z)], 1)
        for block, order in enumerate((self.order0, self.order1)):
            y = self.couplings[2 * block + 1](self.couplings[2 * block](y[:, order]))
        return softplus(y)

    def forward(self, x, u):
        """The loss of a batch."""
        seen = x + 0.01 * torch.randn_like(x)
        mean, log_var = self.mean(seen), self.log_var(seen)
        prior_mean, prior_log_var = self.prior(u).chunk(2, 1)
        gap = log_var - prior_log_var
        weight = torch.sigmoid(gap)
        post_mean = mean + weight * (prior_mean - mean)
        post_log_var = log_var - softplus(gap)
        rate = self.decode(post_mean + (0.5 * post_log_var).exp() * torch.randn_like(post_mean))
        reconstruction = (rate - x * rate.log()).sum(1)
        distance = (post_mean - prior_mean) ** 2 * (-prior_log_var).exp()
        kl = 0.5 * (softplus(-gap) + weight + distance - 1).sum(1)
        return (reconstruction + BETA * kl).mean()
