"""What a run notes of the machine and the command that made it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from facelex.training.environment import describe_environment


@pytest.mark.parametrize(
    ("program", "noted"),
    [
        ("/usr/local/bin/facelex", "facelex"),
        ("/site-packages/facelex/__main__.py", "facelex"),
        ("tools/try_hypotheses.py", "try_hypotheses.py"),
    ],
)
def test_the_command_is_the_one_that_was_given_without_the_home_it_was_given_in(
    monkeypatch: pytest.MonkeyPatch, program: str, noted: str
) -> None:
    home = Path.home()
    argv = [program, "train", "--set", "methods.joint.0.image_sizes={0: 32}", f"data={home}/faces.npz"]
    monkeypatch.setattr(sys, "argv", argv)
    command = describe_environment(torch.device("cpu"), 1)["command"]
    assert command == f"{noted} train --set 'methods.joint.0.image_sizes={{0: 32}}' data=~/faces.npz"
    assert str(home) not in command
