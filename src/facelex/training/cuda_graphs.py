"""Training steps as CUDA graphs: the GPU is handed a step at once, in place of its several hundred kernels.

The kernels of a small network on small pictures take microseconds, less than Python needs to ask for the next
one. A graph records a step once and replays it (https://docs.nvidia.com/cuda/cuda-c-programming-guide,
"CUDA Graphs"). What changes from step to step then lives in tensors that stay in place: which examples, their
reflection, how they are mixed, the learning rates. Random numbers come from generators that the graph knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from facelex.training.config import RunConfig
from facelex.training.environment import UntrainableError
from facelex.training.fabric import Fabric, SingleDeviceStrategy
from facelex.training.mixing import Mix

WARM_UP_STEPS = 3
"""Steps of each kind that run kernel by kernel first, while libraries choose algorithms and take memory."""

Sums = dict[str, Tensor]
Step = Callable[[Tensor, Tensor | None, Mix | None], Sums]
"""Takes the examples ``(B,)`` int64, which are reflected ``(B,)`` bool, and how they are mixed."""


class Recorder(Protocol):
    """Does work now, or records it."""

    def run(self, work: Callable[[], Sums]) -> Sums:
        """Do the work, in the same way as it would be recorded."""

    def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
        """Return where the results will lie, and what to call to have the work done."""


def can_be_replayed(fabric: Fabric, config: RunConfig) -> bool:
    """Whether the steps of a run can be graphs: on one GPU, where nothing has to look at a number.

    A compiled network and a data-parallel one have recordings of their own kind and go kernel by kernel.
    """
    return (
        config.cuda_graphs
        and fabric.device.type == "cuda"
        and isinstance(fabric.strategy, SingleDeviceStrategy)
        and not config.compile
        and config.optimizer.sam_rho is None
        and config.precision != "16-mixed"  # its gradient scaling waits to see whether a step overflowed
    )


class StepGraphs:
    """The graphs of one phase of training, one for each kind of step: image size, way of mixing.

    Steps of one kind must run the same kernels on the same tensors, and leave their results where nothing
    else writes. All graphs share memory, so a result must be read before the next step.

    Args:
        optimizer: Whose learning rates the steps read. Of the Adams it must be ``capturable``.
        device: Where the steps run.
        recorder: How a step is recorded; by default as a CUDA graph.

    Attributes:
        generator: What the steps draw from; seeding it anew between steps is allowed.
    """

    def __init__(self, optimizer: Any, device: torch.device, recorder: Recorder | None = None):
        self.generator = torch.Generator(device=device)
        self._optimizer = optimizer  # whose groups are others after a checkpoint has been read
        self._rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self._recorder = recorder or _CudaRecorder(device, self.generator)
        self._graphs: dict[tuple[object, ...], _Graph] = {}
        self._done: Counter[tuple[object, ...]] = Counter()

    def run(
        self, image_size: int, step: Step, index: Tensor, mirrored: Tensor | None, mix: Mix | None
    ) -> Sums:
        """Take one step.

        Args:
            image_size: Side of the images, which ``step`` knows.
            step: Does the work. Only the first steps of each kind call it; later ones replay what they did.
            index: Examples, ``(B,)``.
            mirrored: Which of them are reflected, ``(B,)`` bool.
            mix: How they are mixed.

        Returns:
            What ``step`` returned, good until the next call.

        Raises:
            UntrainableError: If the step cannot be recorded, as where memory runs out.
        """
        kind = (image_size, len(index), mirrored is None, mix if mix is None else mix.box is None)
        graph = self._graphs.get(kind)
        if graph is None and self._done[kind] < WARM_UP_STEPS:
            self._done[kind] += 1
            return self._recorder.run(lambda: step(index, mirrored, mix))
        if graph is None:
            graph = self._graphs[kind] = self._record(step, _Inputs.like(index, mirrored, mix))
        graph.inputs.take(index, mirrored, mix)
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        graph.replay()
        return graph.sums

    def _record(self, step: Step, inputs: _Inputs) -> _Graph:
        groups = self._optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate  # a number would be written into the graph for good
        try:
            sums, replay = self._recorder.record(lambda: step(inputs.examples, inputs.mirrored, inputs.mix))
        except RuntimeError as error:  # also a want of memory, which may show when the recording is closed
            raise UntrainableError(
                f"A training step cannot be recorded as a CUDA graph: {str(error).partition(chr(10))[0]} "
                "Run kernel by kernel with --set cuda_graphs=false, or, where memory ran out, set a smaller "
                "batch_size or image_size."
            ) from error
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number
        return _Graph(inputs, sums, replay)


class _Inputs(NamedTuple):
    """Where a graph reads what a step is about."""

    examples: Tensor
    mirrored: Tensor | None
    mix: Mix | None

    @classmethod
    def like(cls, index: Tensor, mirrored: Tensor | None, mix: Mix | None) -> _Inputs:
        if mix is not None:
            share = torch.zeros((), device=index.device)
            box = mix.box and torch.zeros(4, dtype=torch.int64, device=index.device).unbind()
            mix = Mix(share, box)
        return cls(index.clone(), None if mirrored is None else mirrored.clone(), mix)

    def take(self, index: Tensor, mirrored: Tensor | None, mix: Mix | None) -> None:
        self.examples.copy_(index)
        if self.mirrored is not None and mirrored is not None:
            self.mirrored.copy_(mirrored)
        if self.mix is not None and mix is not None:
            self.mix.share.fill_(mix.share)  # type: ignore[union-attr, arg-type]
            for place, number in zip(self.mix.box or (), mix.box or (), strict=True):
                place.fill_(number)  # type: ignore[union-attr, arg-type]


class _Graph(NamedTuple):
    inputs: _Inputs
    sums: Sums
    replay: Callable[[], None]


class _CudaRecorder:
    """Works on a stream of its own, since gradients belong to one; all graphs share memory."""

    def __init__(self, device: torch.device, generator: torch.Generator):
        self._stream = torch.cuda.Stream(device)
        self._generator = generator
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, work: Callable[[], Sums]) -> Sums:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            sums = work()
        current.wait_stream(self._stream)
        return sums

    def record(self, work: Callable[[], Sums]) -> tuple[Sums, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            sums = work()
        return sums, graph.replay
