#!/usr/bin/env python3
"""Training steps of the paper's network in PyTorch, for deploy/bench_cnn.sh: eager, channels last, images/s.

  torch_cnn.py [speed] [--threads 2] [--precision fp32|bf16] [--batch 128] [--seconds 5]

On random images in memory: gather, forward, loss, backward, Adadelta. Prints one JSON object: the best of three windows.
Needs torch and numpy.
"""
import contextlib

import torch
from torch import nn
from torch.nn import functional as F

from cnn_timing import SAMPLES, print_rates, read_arguments


def network():
    """conv 32, conv 64, pool, dropout 0.5, dense 128, dense 10, initialised as Keras does."""
    layers = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                           nn.Dropout(0.5), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))
    for layer in layers:
        if hasattr(layer, "weight"):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return layers.to(memory_format=torch.channels_last).train()


def main():
    args = read_arguments(__doc__)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)

    images = torch.rand(SAMPLES, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (SAMPLES,))
    model = network()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0, rho=0.95, eps=1e-7)
    reduced = args.precision == "bf16"

    def step(rows):
        x, y = images[rows].contiguous(memory_format=torch.channels_last), labels[rows]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16) if reduced else contextlib.nullcontext():
            loss = F.cross_entropy(model(x).float(), y)
        loss.backward()
        optimizer.step()

    print_rates(args, {"torch": torch.__version__}, torch.randperm(SAMPLES), step)


main()
