"""Several runs at once: each in a process of its own, all on one screen."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, NoReturn, Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import Progress

from facelex.errors import FacelexError
from facelex.training.memory import keep_memory
from facelex.training.progress import Reporter, RichReporter, SilentReporter, create_bars

Result = TypeVar("Result")
Answer = TypeVar("Answer", covariant=True)

STEP_SECONDS = 0.2
"""Steps are reported together, this often; a small network takes fifty a second."""

END_SECONDS = 10
"""So long a job that is told to end may take over it."""


class Task(Protocol[Answer]):
    """What a job is given to do; it must be picklable."""

    def __call__(self, reporter: Reporter, announce: Callable[[str], None]) -> Answer:
        """Do it, and tell ``reporter`` about the run's progress and ``announce`` what else is to be known."""


def run_tasks(
    tasks: Sequence[Task[Result]],
    jobs: int,
    *,
    threads: int,
    console: Console,
    quiet: bool = False,
) -> list[Result | FacelexError]:
    """Do tasks in as many processes at once, each of which takes the next one when it has finished one.

    Where there are several GPUs, each process sees one of them, in turns. All processes end with this one.

    Args:
        tasks: What is to be done.
        jobs: How many processes, at most.
        threads: CPU threads of each.
        console: Shows what they say: a line begins with the number of its process.
        quiet: Whether to leave out the epochs and bars.

    Returns:
        For each task what it returned, or why it could not.

    Raises:
        RuntimeError: If a process ends with an exception that no user caused; it is printed on stderr.
    """
    answers: dict[int, Result | FacelexError] = {}
    left = deque(enumerate(tasks))
    bars = create_bars(console)
    with ExitStack() as stack:
        stack.callback(bars.stop)
        workers = []
        for number in range(min(jobs, len(tasks))):
            screen = _Screen(console, bars, f"{number + 1}│ ", quiet)
            workers.append(stack.enter_context(_Worker(threads, _gpu(number), screen)))
        for worker in workers:
            worker.begin(left.popleft())
        while busy := {worker.pipe: worker for worker in workers if worker.task is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                task, answer = worker.task, worker.hear()
                if answer is None:
                    continue
                assert task is not None
                answers[task] = answer[0]
                if left and not worker.lost:
                    worker.begin(left.popleft())
    lost = FacelexError("Every job was ended by the system before this one's turn came.")
    return [answers.get(number, lost) for number in range(len(tasks))]


class _Screen:
    """Where one job's lines and bar are shown."""

    def __init__(self, console: Console, bars: Progress, mark: str, quiet: bool):
        speaking = RichReporter(console, bars=bars, mark=mark)
        self.announce = speaking.note
        self.reporter: Reporter = SilentReporter() if quiet else speaking


class _Worker:
    """A process that does one task after another, seen from the one that hands them out."""

    def __init__(self, threads: int, gpu: str | None, screen: _Screen):
        context = get_context("spawn")
        self.screen = screen
        self.task: int | None = None  # the number of the task that it is at
        self.lost = False
        self.pipe, self._theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self._theirs, threads, gpu))

    def __enter__(self) -> Self:
        self.process.start()
        self._theirs.close()  # so that the pipe breaks when the process ends
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()  # one that waits for a task ends by that
        if self.task is not None:
            self.process.terminate()
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def begin(self, task: tuple[int, Task[Any]]) -> None:
        self.task, work = task
        self.pipe.send(work)

    def hear(self) -> tuple[Any] | None:
        """Take one message; return the task's answer if it is that."""
        try:
            kind, *values = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.screen.reporter.stop()
            self.task, self.lost = None, True
            return (self._why_it_ended(),)
        if kind == "answer":
            self.task = None
            return (values[0],)
        if kind == "announce":
            self.screen.announce(*values)
        else:
            getattr(self.screen.reporter, kind)(*values)
        return None

    def _why_it_ended(self) -> FacelexError:
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            raise RuntimeError(f"A job ended with exit code {code}; what it said stands above.")
        error = FacelexError(
            f"The system ended the job (signal {-code}), as it does where memory runs out; fewer --jobs need "
            "less of it. The same command goes on where it stopped."
        )
        self.screen.announce(str(error))
        return error


class _PipeReporter:
    """Passes on what is heard of a run to the process that shows it; that one's end is the end."""

    def __init__(self, pipe: Connection):
        self._pipe, self._images, self._sent = pipe, 0, monotonic()

    def start(self, total_images: int, done_images: int) -> None:
        self.send("start", total_images, done_images)

    def note(self, text: str) -> None:
        self.send("note", text)

    def step(self, images: int) -> None:
        self._images += images
        if monotonic() >= self._sent + STEP_SECONDS:
            self._send_steps()

    def epoch(self, row: dict[str, float | int | str]) -> None:
        self._send_steps()
        self.send("epoch", row)

    def stop(self) -> None:
        self._send_steps()
        self.send("stop")

    def announce(self, text: str) -> None:
        self.send("announce", text)

    def _send_steps(self) -> None:
        if self._images:
            self.send("step", self._images)
        self._images, self._sent = 0, monotonic()

    def send(self, *message: object) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            _leave()


def _serve(pipe: Connection, threads: int, gpu: str | None) -> None:
    """Do what comes through the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    keep_memory()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first tensor goes there
    import torch

    torch.set_num_threads(threads)
    reporter = _PipeReporter(pipe)
    while True:
        try:
            task: Task[Any] = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = task(reporter, reporter.announce)
        except FacelexError as error:
            answer = error
        reporter.send("answer", answer)


def _leave() -> NoReturn:
    """End this process, whose reader has gone, as if it were told to; a run goes on from its checkpoint."""
    raise SystemExit(1)


def _gpu(number: int) -> str | None:
    """The GPU of a job where there are several, as CUDA_VISIBLE_DEVICES names it."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
    return visible[number % len(visible)] if len(visible) > 1 else None
