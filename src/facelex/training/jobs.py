"""Several runs at once: each in a process of its own, all on one screen."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, Protocol, TypeVar

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

_BY_SIGNAL = 128
"""Exit codes of those that a signal ended lie above this, as shells have it."""


class JobLostError(FacelexError):
    """The system ended the process that was at a task, or all of them before one could begin it."""


class Task(Protocol[Answer]):
    """What a job is given to do; it must be picklable."""

    def __call__(self, reporter: Reporter, announce: Callable[[str], None]) -> Answer:
        """Do it, and tell ``reporter`` about the run's progress and ``announce`` what else is to be known."""


def run_tasks(
    tasks: Sequence[Task[Result]],
    jobs: int,
    *,
    threads: int | None,
    console: Console,
    quiet: bool = False,
) -> list[Result | JobLostError]:
    """Do tasks in as many processes at once, each of which takes the next one when it has finished one.

    Where there are several GPUs, each process sees one of them, in turns. All processes end with this one.
    One that the system ends is not replaced; the others go on.

    Args:
        tasks: What is to be done.
        jobs: How many processes, at most.
        threads: CPU threads of each; None shares out those of this process.
        console: Shows what they say: a line begins with the number of its process.
        quiet: Whether to leave out the epochs and bars.

    Returns:
        For each task what it returned, or that the system ended its process.

    Raises:
        FacelexError: As any task does; the others then end as well.
        OSError: The same.
        MemoryError: The same.
        RuntimeError: If a process ends with another exception, which is printed on stderr.
    """
    jobs = min(jobs, len(tasks))
    left = deque(enumerate(tasks))
    answers: dict[int, Result | JobLostError] = {}
    with _workers(jobs, threads or _share(jobs), console, quiet) as workers:
        for worker in workers:
            worker.begin(left)
        while busy := {worker.pipe: worker for worker in workers if worker.task is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                task, answer = worker.task, worker.hear()
                if answer is not None and task is not None:
                    answers[task] = answer[0]
                    worker.begin(left)
    lost = JobLostError("The system ended every job before this one's turn came.")
    return [answers.get(number, lost) for number in range(len(tasks))]


@contextmanager
def _workers(jobs: int, threads: int, console: Console, quiet: bool) -> Iterator[list[_Worker]]:
    """Start processes; in the end tell all of them to end, then wait."""
    bars = create_bars(console)
    workers: list[_Worker] = []
    try:
        for number in range(jobs):
            screen = _Screen(console, bars, f"{number + 1}| ", quiet)
            workers.append(_Worker(threads, _gpu(number), screen))
        yield workers
    finally:
        bars.stop()
        for worker in workers:
            worker.tell_to_end()
        for worker in workers:
            worker.wait_for_end()


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
        self._lost = False
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads, gpu))
        with _ctrl_c_ignored():  # the process inherits that: Ctrl-C reaches all, and this one ends the others
            self.process.start()
        theirs.close()  # so that the pipe breaks when the process ends

    def begin(self, left: deque[tuple[int, Task[Any]]]) -> None:
        """Take the next task, if there is one and the process is there to do it."""
        if not left or self._lost:
            return
        try:
            self.pipe.send(left[0][1])
        except OSError:
            self._lost = True
            self._why_it_ended()
        else:
            self.task, _ = left.popleft()

    def hear(self) -> tuple[Any] | None:
        """Take one message; return the task's answer if it is that.

        Raises:
            Exception: What the task raised.
        """
        try:
            kind, *values = self.pipe.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            self.screen.reporter.stop()
            self.task, self._lost = None, True
            return (self._why_it_ended(),)
        if kind == "error":
            self.task = None
            raise values[0]
        if kind == "answer":
            self.task = None
            return (values[0],)
        if kind == "announce":
            self.screen.announce(*values)
        else:
            getattr(self.screen.reporter, kind)(*values)
        return None

    def _why_it_ended(self) -> JobLostError:
        self.wait_for_end()
        code = self.process.exitcode or 0
        number = -code if code < 0 else code - _BY_SIGNAL
        if number <= 0:
            raise RuntimeError(f"A job ended with exit code {code}; what it said stands above.")
        error = JobLostError(
            f"The system ended the job (signal {number}), as it does where memory runs out; fewer --jobs "
            "need less of it. The same command goes on where it stopped."
        )
        self.screen.announce(str(error))
        return error

    def tell_to_end(self) -> None:
        """Close the pipe, by which a process that waits for a task ends, and stop one that is at a task."""
        self.pipe.close()
        if self.task is not None:
            self.process.terminate()

    def wait_for_end(self) -> None:
        """Return when the process has ended, and see to it that it does."""
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _PipeReporter:
    """Passes on what is heard of a run to the process that shows it; that one's end is the end."""

    def __init__(self, pipe: Connection):
        self._pipe, self._images, self._sent = pipe, 0, monotonic()
        self._lock = threading.RLock()  # libraries may warn from threads of theirs

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
            with self._lock:
                self._pipe.send(message)
        except OSError:
            sys.exit(1)  # who heard it has gone; a run goes on from its checkpoint


class _Announced(io.TextIOBase):
    """A stream whose lines are announced: what libraries say would tear the bars of the screen."""

    def __init__(self, announce: Callable[[str], None]):
        self._announce, self._rest = announce, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._announce(line)
        return len(text)


def _serve(pipe: Connection, threads: int, gpu: str | None) -> None:
    """Do what comes through the pipe until it is closed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_BY_SIGNAL + signal.SIGTERM))  # leave no lock behind
    reporter = _PipeReporter(pipe)
    screen, sys.stderr = sys.stderr, _Announced(reporter.announce)
    keep_memory()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first tensor goes there
    try:
        import torch

        torch.set_num_threads(threads)
        while (content := _receive(pipe)) is not None:
            _do(pickle.loads(content), reporter)
    except Exception:
        sys.stderr = screen  # for the traceback
        raise


def _do(task: Task[Any], reporter: _PipeReporter) -> None:
    """Do one task and pass on its answer, of which nothing stays here: it may hold on to a whole run."""
    try:
        answer = task(reporter, reporter.announce)
    except (FacelexError, OSError, MemoryError) as error:  # of which the command line tells the user
        reporter.send("error", error)
    else:
        reporter.send("answer", answer)


def _receive(pipe: Connection) -> bytes | None:
    """The next message; None if there will be none."""
    try:
        return pipe.recv_bytes()
    except (EOFError, OSError):
        return None


def _share(jobs: int) -> int:
    """How many threads each of several jobs takes of those that this process would."""
    import torch

    return max(1, torch.get_num_threads() // max(jobs, 1))


def _gpu(number: int) -> str | None:
    """The GPU of a job where there are several, as CUDA_VISIBLE_DEVICES names it."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = [str(index) for index in range(count)] if named is None else named.split(",")[:count]
    return visible[number % count].strip() if len(visible) == count > 1 else None
