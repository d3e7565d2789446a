"""Ways to run a model's training step in PyTorch. Each form returns a function that starts one step of all members."""

import torch
from torch.func import functional_call, stack_module_state


def adam(parameters, device, capturable=False):
    return torch.optim.Adam(parameters, lr=1e-4, weight_decay=5e-6, fused=device != "cpu", capturable=capturable)


def stepper(loss, optimizer):
    def step():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def moved(model, device):
    return model.to(device), [values.to(device) for values in model.batch()]


def eager(model, device):
    model, batch = moved(model, device)
    return stepper(lambda: model(*batch), adam(model.parameters(), device))


def compiled(model, device):
    model, batch = moved(model, device)
    loss = torch.compile(model, mode="reduce-overhead", dynamic=False)
    optimizer = adam(model.parameters(), device, capturable=device != "cpu")

    def step():
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        loss(*batch).backward()
        optimizer.step()

    return step


def captured(step):
    """A CUDA graph of a step: recorded after it has run beside the main stream, as torch asks."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def graph(model, device):
    model, batch = moved(model, device)
    return captured(stepper(lambda: model(*batch), adam(model.parameters(), device, capturable=device != "cpu")))


def vmap_step(make_model, n_members, device):
    models = [make_model().to(device) for _ in range(n_members)]
    parameters, buffers = stack_module_state(models)
    batch = [torch.stack([values.to(device)] * n_members) for values in models[0].batch()]
    losses = torch.vmap(lambda p, b, *values: functional_call(models[0], (p, b), values), randomness="different")
    optimizer = adam(list(parameters.values()), device, capturable=device != "cpu")
    return stepper(lambda: losses(parameters, buffers, *batch).sum(), optimizer)
