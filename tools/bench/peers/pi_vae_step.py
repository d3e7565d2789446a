#!/usr/bin/env python3
"""pi_vae_step.py: seconds of one training step of pi-VAE in PyTorch, eager, float32; prints one JSON line per case.

The same work as `idem bench --filter step/pi-vae`: 120 neurons, 3 labels, 2 latents, batches of 200; encoders for mean and log variance 60 wide, a
label prior 20 wide, a flow decoder of two blocks of a permutation and two couplings 30 wide, Poisson counts, Adam with coupled decay. Every coupling
passes one network and one exponential; nothing is evaluated twice.
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn.functional import softplus

NEURONS, LABELS, LATENTS, BATCH, BETA = 120, 3, 2, 200, 0.01
CASES = {"step/pi-vae-60/1": {"width": 60, "prior_width": 20, "flow_width": 30}}


def network(n_in, width, n_out, activation):
    return nn.Sequential(nn.Linear(n_in, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, n_out))


class Coupling(nn.Module):
    """[first, second] becomes [second * exp(scale) + shift, first]; the scales add up to nothing, so the volume stays."""

    def __init__(self, width):
        super().__init__()
        self.kept = NEURONS // 2
        self.changed = NEURONS - self.kept
        self.network = network(self.kept, width, 2 * self.changed - 1, nn.ReLU)

    def forward(self, y):
        first, second = y[:, :self.kept], y[:, self.kept:]
        out = self.network(first)
        scale = 0.1 * torch.tanh(out[:, :self.changed - 1])
        scale = torch.cat([scale, -scale.sum(1, keepdim=True)], 1)
        return torch.cat([second * scale.exp() + out[:, self.changed - 1:], first], 1)


class PiVae(nn.Module):
    def __init__(self, width, prior_width, flow_width):
        super().__init__()
        self.mean, self.log_var = (network(NEURONS, width, LATENTS, nn.Tanh) for _ in range(2))
        self.prior = network(LABELS, prior_width, 2 * LATENTS, nn.Tanh)
        self.lift = network(LATENTS, flow_width, NEURONS - LATENTS, nn.ReLU)
        self.couplings = nn.ModuleList(Coupling(flow_width) for _ in range(4))
        self.orders = [torch.randperm(NEURONS) for _ in range(2)]

    def decode(self, z):
        y = torch.cat([z, self.lift(z)], 1)
        for block, order in enumerate(self.orders):
            y = self.couplings[2 * block + 1](self.couplings[2 * block](y[:, order]))
        return softplus(y)

    def loss(self, x, u):
        seen = x + 0.01 * torch.randn_like(x)
        mean, log_var = self.mean(seen), self.log_var(seen)
        prior_mean, prior_log_var = self.prior(u).chunk(2, 1)
        gap = log_var - prior_log_var
        weight = torch.sigmoid(gap)
        post_mean = mean + weight * (prior_mean - mean)
        post_log_var = log_var - softplus(gap)
        z = post_mean + (0.5 * post_log_var).exp() * torch.randn_like(post_mean)
        rate = self.decode(z)
        reconstruction = (rate - x * rate.log()).sum(1)
        distance = (post_mean - prior_mean) ** 2 * (-prior_log_var).exp()
        kl = 0.5 * (softplus(-gap) + weight + distance - 1).sum(1)
        return (reconstruction + BETA * kl).mean()


def seconds_per_step(device, sizes, budget_s):
    torch.manual_seed(0)
    model = PiVae(**sizes).to(device)
    model.orders = [order.to(device) for order in model.orders]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-6)
    x = torch.poisson(torch.full((BATCH, NEURONS), 0.2)).to(device)
    u = torch.rand(BATCH, LABELS, device=device)

    def wait():
        if device != "cpu":
            torch.cuda.synchronize()

    times, end = [], time.perf_counter() + budget_s
    while time.perf_counter() < end or len(times) < 5:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model.loss(x, u).backward()
        optimizer.step()
        wait()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--budget", type=float, default=5, help="seconds per case")
    arguments.add_argument("--filter", default="", help="only cases whose name holds this")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    for name, sizes in CASES.items():
        if chosen.filter in name:
            median = seconds_per_step(chosen.device, sizes, chosen.budget)
            print(json.dumps({"name": name, "form": "eager", "median_s": median, "torch": torch.__version__, "device": chosen.device,
                              "threads": chosen.threads}), flush=True)


main()
