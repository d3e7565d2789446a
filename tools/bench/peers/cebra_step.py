#!/usr/bin/env python3
"""cebra_step.py: seconds of one training step of CEBRA's own program (`pip install cebra`), sampler included; prints one JSON line per case.

The same work as `idem bench --filter step/cebra`: the offset10 encoder, 3 features, positives by the difference of three continuous labels over 10 bins,
cosine InfoNCE at temperature 1, Adam. Of its default "time_delta" sampler the arrays of batch x bins count too: peak_mb is the process's.
"""
import argparse
import json
import resource
import statistics
import time
import warnings

import numpy as np
import torch

CASES = {  # name: batch, width, neurons, bins
    "step/cebra-offset10-512-of-6577/1": (512, 32, 48, 6577),
    "step/cebra-offset10-512-of-100000/1": (512, 32, 48, 100000),
}


def recording(neurons, bins):
    inputs = (np.arange(bins * neurons, dtype=np.uint64) * 2654435761 % 97 // 90).astype(np.float32).reshape(bins, neurons)
    row = np.arange(bins)
    side = row // 314 % 2
    labels = np.stack([np.abs(np.sin(0.01 * row)), side, 1 - side], 1).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def seconds_per_step(cebra, device, batch, width, neurons, bins, budget_s):
    torch.manual_seed(0)
    inputs, labels = recording(neurons, bins)
    model = cebra.models.init("offset10-model", neurons, width, 3).to(device)
    data = cebra.data.TensorDataset(inputs, continuous=labels, offset=model.get_offset(), device=device)
    loader = cebra.data.ContinuousDataLoader(dataset=data, num_steps=1_000_000, batch_size=batch, conditional="time_delta", time_offset=10).to(device)
    criterion = cebra.models.criterions.FixedCosineInfoNCE(temperature=1.0).to(device)
    optimizer = torch.optim.Adam(list(model.parameters()) + list(criterion.parameters()), lr=3e-4)
    solver = cebra.solver.init("single-session", model=model, criterion=criterion, optimizer=optimizer).to(device)
    times, began, end = [], None, time.perf_counter() + budget_s
    for step, drawn in enumerate(loader):
        solver.step(drawn)  # reads the loss back, so that the step has ended
        now = time.perf_counter()
        if step > 1:
            times.append(now - began)
        if len(times) >= 3 and now > end:
            return statistics.median(times)
        began = now


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--budget", type=float, default=5, help="seconds per case")
    arguments.add_argument("--filter", default="", help="only cases whose name holds this")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    for name, shape in CASES.items():
        if chosen.filter not in name:
            continue
        import cebra  # slow, and not needed for other cases

        median = seconds_per_step(cebra, chosen.device, *shape, chosen.budget)
        print(json.dumps({"name": name, "form": f"cebra {cebra.__version__}", "median_s": median, "torch": torch.__version__, "device": chosen.device,
                          "threads": chosen.threads, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


main()
