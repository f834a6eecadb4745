"""Time from the command ``facelex train`` to the end of its first step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

MARK = "first step ended at "

FIRST_STEP = f"""
import os, sys, time
from facelex.cli.main import main
from facelex.training import progress

def stop(self, images):
    import torch  # not above: the command does something before it loads PyTorch
    if torch.cuda.is_initialized():  # where the step may only have been asked for
        torch.cuda.synchronize()
    print({MARK!r} + repr(time.time()), flush=True)
    os._exit(0)

progress.SilentReporter.step = stop
sys.exit(main(sys.argv[1:]))
"""
"""The command itself, in a process that ends where the first step is reported."""

IMPORTS = "import torch, facelex.training.fabric, facelex.training.run"

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Python keeps what it has compiled, as everywhere but in containers that forbid it."""


def seconds_to_first_step(arguments: list[str]) -> float:
    """Run ``facelex train ARGUMENTS`` in a fresh process and folder, up to its first step.

    Raises:
        RuntimeError: If the command ended before it.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", FIRST_STEP, "train", *arguments, "--quiet", "-o", f"{folder}/run"]
        start = time.time()
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return float(line.removeprefix(MARK)) - start
    raise RuntimeError(f"facelex train ended before its first step: {done.stderr.strip()[-500:]}")


def seconds_to_import() -> float:
    """How much of that goes into starting Python and loading the libraries."""
    start = time.time()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, env=ENVIRONMENT)
    return time.time() - start
