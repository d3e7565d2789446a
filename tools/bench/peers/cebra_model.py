"""CEBRA's training step in PyTorch without its own package, sampler included, the same work as idem's step/cebra-
offset10; and by that package.

The offset10 encoder, 3 features, positives by the difference of three continuous labels over 10 bins (the nearest of
all bins, found by their distances, as the published sampler does), cosine InfoNCE at temperature 1.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu

FEATURES, WINDOW, TIME_OFFSET = 3, 10, 10
SHAPES = {  # batch, width, neurons, bins
    "cebra-offset10-512": (512, 32, 120, 4200),
    "cebra-offset10-512-of-6577": (512, 32, 48, 6577),
    "cebra-offset10-512-of-100000": (512, 32, 48, 100000),
}


def recording(neurons, bins):
    inputs = (
        (np.arange(bins * neurons, dtype=np.uint64) * 2654435761 % 97 // 90).astype(np.float32).reshape(bins, neurons)
    )
    row = np.arange(bins)
    side = row // 314 % 2
    labels = np.stack([np.abs(np.sin(0.01 * row)), side, 1 - side], 1).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(labels)


class Cebra(nn.Module):
    """Its inputs are the recording itself: each step draws its own bins."""

    def __init__(self, name):
        super().__init__()
        self.size, width, self.neurons, self.bins = SHAPES[name]
        self.first = nn.Conv1d(self.neurons, width, 2)
        self.residual = nn.ModuleList(nn.Conv1d(width, width, 3) for _ in range(3))
        self.last = nn.Conv1d(width, FEATURES, 3)

    def batch(self):
        return recording(self.neurons, self.bins)

    def encode(self, windows):
        y = gelu(self.first(windows))
        for layer in self.residual:
            y = y[:, :, 1:-1] + gelu(layer(y))
        return nn.functional.normalize(self.last(y)[:, :, 0], dim=1)

    def forward(self, inputs, labels):
        """The loss of a step."""
        first, n = WINDOW // 2, self.bins - WINDOW
        reference, negative = (torch.randint(n, (self.size,), device=inputs.device) for _ in range(2))
        earlier = torch.randint(self.bins - TIME_OFFSET, (self.size,), device=inputs.device)
        wanted = labels[reference + first] + labels[earlier + TIME_OFFSET] - labels[earlier]
        positive = torch.cdist(wanted, labels[first : first + n]).argmin(1)
        windows = inputs.unfold(0, WINDOW, 1)  # [bin, neuron, bin of its window], a view
        drawn = self.encode(windows[torch.cat([reference, positive, negative])])
        reference, positive, negative = drawn.split(self.size)
        return (reference @ negative.T).logsumexp(1).mean() - (reference * positive).sum(1).mean()


def program_step(name, device):
    """A step of CEBRA's own program (`pip install cebra`)."""
    import cebra

    batch, width, neurons, bins = SHAPES[name]
    inputs, labels = recording(neurons, bins)
    model = cebra.models.init("offset10-model", neurons, width, FEATURES).to(device)
    data = cebra.data.TensorDataset(inputs, continuous=labels, offset=model.get_offset(), device=device)
    loader = cebra.data.ContinuousDataLoader(
        dataset=data, num_steps=1_000_000, batch_size=batch, conditional="time_delta", time_offset=TIME_OFFSET
    )
    criterion = cebra.models.criterions.FixedCosineInfoNCE(temperature=1.0).to(device)
    optimizer = torch.optim.Adam(list(model.parameters()) + list(criterion.parameters()), lr=3e-4)
    solver = cebra.solver.init("single-session", model=model, criterion=criterion, optimizer=optimizer).to(device)
    batches = iter(loader.to(device))
    return lambda: solver.step(next(batches))
