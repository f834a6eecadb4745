"""A tool's runner as a process that can be asked."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from peers.installing import Peer, command, environment

LIMIT = 300.0
"""Seconds after which an answer is given up."""


class NoAnswerError(Exception):
    """The tool could not do what it was asked; the message says why."""


class Runner:
    """The runner of one tool, alive until the end of the ``with`` block."""

    def __init__(self, peer: Peer, folder: Path, job: dict[str, Any]) -> None:
        self.peer = peer
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command(peer, folder, job),
            cwd=environment(peer, folder),
            env={**os.environ, "HOME": str(folder / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        """Send a request (see ``protocol.py``) and return the answer.

        Raises:
            NoAnswerError: If the tool failed, ended, or took longer than `LIMIT`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(LIMIT, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"do": what, **details}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise NoAnswerError(f"its process ended (status {self._process.wait()}) without an answer")
        answer = json.loads(line)
        if "error" in answer:
            raise NoAnswerError(answer["error"])
        return answer


def cold_start(peer: Peer, folder: Path, job: dict[str, Any], what: str, **details: Any) -> float:
    """Return the seconds from starting a fresh process to its first answer."""
    with Runner(peer, folder, job) as runner:
        runner.ask(what, **details)
        return time.perf_counter() - runner.started
