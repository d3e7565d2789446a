#!/usr/bin/env python3
"""ci_ivae_step.py: seconds of one training step of the CI-iVAE in PyTorch, eager, float32; prints one JSON line per case.

The same work as `idem bench --filter step/ci-ivae`: 120 neurons, 3 labels, 2 latents, batches of 200, 39 alphas, 50 Monte-Carlo draws, the published
objective, Adam. Twice: "loop" evaluates one alpha after the other and materialises each mixture, the natural way to write it (and how the released
program is organised); "vectorised" does all alphas in one broadcast expression in log space, the best eager form we know.
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn

NEURONS, LABELS, LATENTS, BATCH, DRAWS, BETA = 120, 3, 2, 200, 50, 0.01
ALPHAS = [i / 40 for i in range(1, 40)]


def network(widths, activation, last=None):
    layers = []
    for n_in, n_out in zip(widths[:-2], widths[1:-1]):
        layers += [nn.Linear(n_in, n_out), activation()]
    layers.append(nn.Linear(widths[-2], widths[-1]))
    if last:
        layers.append(last())
    return nn.Sequential(*layers)


class Model(nn.Module):
    def __init__(self, width, prior_width, activation):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(NEURONS, width), activation(), nn.Linear(width, width), activation())
        self.mean, self.log_var = nn.Linear(width, LATENTS), nn.Linear(width, LATENTS)
        self.prior_mean = network([LABELS, prior_width, prior_width, LATENTS], activation)
        self.prior_log_var = network([LABELS, prior_width, prior_width, LATENTS], activation)
        self.decoder = network([LATENTS, width, width, NEURONS], activation, nn.Sigmoid)


def kl(mean, log_var, to_mean, to_log_var):
    gap = log_var - to_log_var
    return 0.5 * (gap.exp() - gap - 1 + (mean - to_mean) ** 2 * (-to_log_var).exp()).mean(1)


def log_density(z, mean, log_var):
    return (-0.5 * (log_var + (z - mean) ** 2 * (-log_var).exp())).sum(1)


def loss_of(model, x, u, vectorised):
    target = x = x + 0.01 * torch.randn_like(x)
    hidden = model.trunk(x)
    mean, log_var = model.mean(hidden), model.log_var(hidden)
    prior_mean, prior_log_var = model.prior_mean(u), model.prior_log_var(u)
    weight = torch.sigmoid(log_var - prior_log_var)
    post_mean = mean + weight * (prior_mean - mean)
    post_log_var = log_var - nn.functional.softplus(log_var - prior_log_var)
    z_encoder = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
    z_posterior = post_mean + (0.5 * post_log_var).exp() * torch.randn_like(mean)
    loss_encoder = ((model.decoder(z_encoder) - target) ** 2).mean(1) + BETA * kl(mean, log_var, prior_mean, prior_log_var)
    loss_posterior = ((model.decoder(z_posterior) - target) ** 2).mean(1) + BETA * kl(post_mean, post_log_var, prior_mean, prior_log_var)
    noise = torch.randn(BATCH, LATENTS, DRAWS, device=x.device)
    at_encoder = mean[..., None] + (0.5 * log_var)[..., None].exp() * noise
    at_posterior = post_mean[..., None] + (0.5 * post_log_var)[..., None].exp() * noise
    encoder = (mean[..., None], log_var[..., None])
    posterior = (post_mean[..., None], post_log_var[..., None])
    if vectorised:
        ratio_posterior = log_density(at_posterior, *encoder) - log_density(at_posterior, *posterior)
        ratio_encoder = log_density(at_encoder, *posterior) - log_density(at_encoder, *encoder)
        alpha = torch.tensor(ALPHAS, device=x.device)
        skew_posterior = -torch.logaddexp((1 - alpha).log(), alpha.log() + ratio_posterior[..., None]).mean(1).abs()
        skew_encoder = -torch.logaddexp(alpha.log(), (1 - alpha).log() + ratio_encoder[..., None]).mean(1).abs()
        grid = alpha * loss_encoder[:, None] + (1 - alpha) * loss_posterior[:, None] - alpha * skew_encoder - (1 - alpha) * skew_posterior
    else:
        columns = []
        for alpha in ALPHAS:
            ratio_posterior = (log_density(at_posterior, *encoder) - log_density(at_posterior, *posterior)).exp()
            ratio_encoder = (log_density(at_encoder, *posterior) - log_density(at_encoder, *encoder)).exp()
            skew_posterior = (-(alpha * ratio_posterior + 1 - alpha).log()).mean(1).abs()
            skew_encoder = (-(alpha + (1 - alpha) * ratio_encoder).log()).mean(1).abs()
            columns.append(alpha * loss_encoder + (1 - alpha) * loss_posterior + alpha * skew_encoder + (1 - alpha) * skew_posterior)
        grid = torch.stack(columns, 1)
    return grid.min(1).values.mean()


def seconds_per_step(device, width, prior_width, activation, vectorised, budget_s):
    torch.manual_seed(0)
    model = Model(width, prior_width, activation).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-6)
    x = torch.poisson(torch.full((BATCH, NEURONS), 0.2)).to(device)
    u = torch.rand(BATCH, LABELS, device=device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss_of(model, x, u, vectorised).backward()
        optimizer.step()

    def wait():
        if device != "cpu":
            torch.cuda.synchronize()

    for _ in range(2):
        step()
    wait()
    times = []
    end = time.perf_counter() + budget_s
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--budget", type=float, default=5, help="seconds per case")
    arguments.add_argument("--filter", default="", help="only cases whose name holds this")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    for name, shape in (("step/ci-ivae-60/1", (60, 60, nn.Tanh)), ("step/ci-ivae-4096/1", (4096, 128, lambda: nn.LeakyReLU(0.2)))):
        for vectorised in (False, True):
            if chosen.filter not in name:
                continue
            median = seconds_per_step(chosen.device, *shape, vectorised, chosen.budget)
            print(json.dumps({"name": name, "form": "vectorised" if vectorised else "loop", "median_s": median, "torch": torch.__version__,
                              "device": chosen.device, "threads": chosen.threads}), flush=True)


main()
