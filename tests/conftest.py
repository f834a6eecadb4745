"""What holds for every test: opt-in markers, no network, one thread a process."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests may import ONNX Runtime before facelex
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; set before NumPy and torch load

# On top of hypothesis's own profile ("ci" where CI is set): a busy machine is no failure.
settings.register_profile(
    "facelex", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("facelex")

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {}
    if not config.getoption("--runslow"):
        reasons["slow"] = "slow: run with --runslow"
    if not (ROOT / "data" / "fer2013.npz").exists():
        reasons["data"] = "needs the real FER2013 in data/fer2013.npz: facelex data prepare"
    if any(item.get_closest_marker("gpu") for item in items) and not cuda_is_there():
        reasons["gpu"] = "needs a CUDA device"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def cuda_is_there() -> bool:
    torch = pytest.importorskip("torch")
    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch to one thread wherever a test module has imported it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
            pytest.fail(f"The test tried to connect to {address[0]}; tests run without network.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
