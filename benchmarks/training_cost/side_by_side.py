"""One run with all threads, and several that share them: what is trained in a second."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import Any

from training_cost.steps import Setting, Worker


def compare_jobs(setting: Setting, jobs: int, threads: int) -> dict[str, Any]:
    """Time one run by itself and several at once, in turns; each is a process of its own, as with ``--jobs``.

    Args:
        setting: The run; its steps in one timing should take a second, so that those at once overlap.
        jobs: How many at once.
        threads: CPU threads of the one, which the several share.

    Returns:
        Each timing in seconds a step, medians in images/s of the one and of the several together, and the
        ratio of the several to the one.
    """
    with ExitStack() as stack:
        alone = stack.enter_context(Worker("facelex", setting, threads))
        share = max(1, threads // jobs)
        at_once = [stack.enter_context(Worker("facelex", setting, share)) for _ in range(jobs)]
        for worker in (alone, *at_once):
            worker.answer()
        times: dict[str, list[Any]] = {"one": [], "several": []}
        for _ in range(setting.rounds):
            times["one"].append(alone.ask("both"))
            for worker in at_once:
                worker.pipe.send("both")
            times["several"].append([float(worker.answer()) for worker in at_once])
    rates = {
        "one": statistics.median(setting.batch / seconds for seconds in times["one"]),
        "several": statistics.median(
            sum(setting.batch / seconds for seconds in timings) for timings in times["several"]
        ),
    }
    ratio = rates["several"] / rates["one"]
    return {**vars(setting), "jobs": jobs, "images_per_second": rates, "ratio": ratio, "seconds": times}
