"""What a runner does: answer requests about one tool, one JSON line each, so that all tools are timed alike.

A runner is started as ``python run_TOOL.py '{"crops": "crops.npy"}'`` inside the tool's own environment. It
reads requests from standard input and loads the tool when the first one comes:

* ``{"do": "latency", "calls": 50}`` -> ``{"seconds": median of one crop}``
* ``{"do": "batch", "count": 1024}`` -> ``{"seconds": for all of them}``
* ``{"do": "labels"}`` -> ``{"labels": class id of every crop}``
* ``{"do": "photo", "path": "a.jpg"}`` -> ``{"seconds": ..., "faces": [{"box": ..., "emotion": ...}]}``
* ``{"do": "memory"}`` -> ``{"peak_mb": largest resident size so far}``

An answer ``{"error": sentence}`` says why there is none. Only the standard library and NumPy are needed.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class Tool(Protocol):
    """One tool, ready to be asked."""

    classes: tuple[str, ...]
    """Names of the columns that `classify` returns; those that are not in `EMOTIONS` are left out."""

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Return scores ``(N, K)`` of grey crops ``(N, 48, 48)`` uint8, as fast as the tool can."""

    def read_photo(self, path: str) -> list[dict[str, Any]]:
        """Find faces in a file and return ``box`` (x, y, w, h) and ``emotion`` of each."""


def serve(create: Callable[[], Tool]) -> None:
    """Answer requests until standard input ends; ``create`` imports the tool."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what tools print must not come between the answers
    job = json.loads(sys.argv[1])
    tool: Tool | None = None
    crops: np.ndarray | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if tool is None:
                tool = create()
            if crops is None and request["do"] != "photo":
                crops = np.load(job["crops"])
            answer = ANSWERS[request["do"]](tool, crops, request)
        except Exception as error:  # whatever a tool raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _latency(tool: Tool, crops: np.ndarray, request: dict) -> dict:
    rows = [crops[i % len(crops)][None] for i in range(request["calls"])]
    return {"seconds": statistics.median(_seconds(partial(tool.classify, row)) for row in rows)}


def _batch(tool: Tool, crops: np.ndarray, request: dict) -> dict:
    part = np.resize(crops, (request["count"], *crops.shape[1:]))
    return {"seconds": _seconds(lambda: tool.classify(part))}


def _labels(tool: Tool, crops: np.ndarray, request: dict) -> dict:
    scores = np.asarray(tool.classify(crops))
    kept = [column for column, name in enumerate(tool.classes) if name in EMOTIONS]
    ids = np.array([EMOTIONS.index(tool.classes[column]) for column in kept])
    return {"labels": ids[scores[:, kept].argmax(1)].tolist()}


def _photo(tool: Tool, crops: object, request: dict) -> dict:
    start = time.perf_counter()
    faces = tool.read_photo(request["path"])
    return {"seconds": time.perf_counter() - start, "faces": faces}


def _memory(tool: object, crops: object, request: dict) -> dict:
    return {"peak_mb": peak_memory()}


ANSWERS = {"latency": _latency, "batch": _batch, "labels": _labels, "photo": _photo, "memory": _memory}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_memory() -> float:
    """Return the largest resident size of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with the size of the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
