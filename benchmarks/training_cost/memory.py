"""Peak memory of training, each size in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import torch

from facelex.training.config import OptimizerConfig
from facelex.training.devices import choose_algorithms
from facelex.training.environment import peak_resident_mb
from facelex.training.optimizers import create_optimizer
from training_cost.networks import create_model, our_step

MIB = 2**20


def measure_here(encoder: str, batch: int, image_size: int, device: str, precision: str) -> dict[str, Any]:
    """Take three steps in this process, and note its peak and what it held before the network was made."""
    choose_algorithms(torch.device(device))
    before = peak_resident_mb()
    model = create_model(encoder, device, ours=True)
    step = our_step(model, create_optimizer(model, OptimizerConfig(name="sgd"), 0.01), device, precision)
    images = torch.rand(batch, 1, image_size, image_size, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    for _ in range(3):
        step(images.contiguous(memory_format=torch.channels_last), labels)
    peak = torch.cuda.max_memory_allocated() / MIB if device == "cuda" else peak_resident_mb()
    return {
        "encoder": encoder,
        "batch": batch,
        "image_size": image_size,
        "device": device,
        "precision": precision,
        "peak_mib": peak,
        "before_mib": 0.0 if device == "cuda" else before,
    }


def measure(script: str, arguments: list[str]) -> dict[str, Any]:
    """Let a fresh process run :func:`measure_here`: ``script one-memory ARGUMENTS`` prints it as JSON."""
    done = subprocess.run([sys.executable, script, "one-memory", *arguments], capture_output=True, text=True)
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))
