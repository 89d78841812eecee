#!/usr/bin/env python3
"""Training steps of the paper's network in PyTorch, for deploy/bench_cnn.sh: eager, channels last, images/s.

  torch_cnn.py [speed] [--threads 2] [--precision fp32|bf16] [--batch 128] [--seconds 5]

On random images in memory: gather, forward, loss, backward, Adadelta. Prints one JSON object: the best of three windows.
Needs torch and numpy.
"""
import argparse
import contextlib
import json
import time

import torch
from torch import nn
from torch.nn import functional as F


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="speed", choices=["speed"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)

    images = torch.rand(20000, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (20000,))
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

    order = torch.randperm(20000)
    rates, processor_rates = [], []
    for window in range(4):  # The first one warms up.
        n, start, start_cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < args.seconds or n < 5:
            at = n * args.batch % (20000 - args.batch)
            step(order[at:at + args.batch])
            n += 1
        rates.append(n * args.batch / (time.perf_counter() - start))
        processor_rates.append(n * args.batch / (time.process_time() - start_cpu))
    print(json.dumps({"torch": torch.__version__, "threads": args.threads, "precision": args.precision,
                      "batch": args.batch, "images_per_second": round(max(rates[1:]), 1),
                      "images_per_processor_second": round(max(processor_rates[1:]), 1)}))


main()
