"""Passes over a map that ``torch.compile`` turns into one loop each.

Where it cannot, for want of a C++ compiler, as a trial at the first use shows, or of room on the disk when a
new shape comes, the step is finished by PyTorch's own operations, and later ones run layer by layer.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

VARIANTS = 256
"""How many loops a process may compile for each pass. One serves all batches and image sizes, but only one
number of channels, over which it is vectorised, and one type (with autocast on or off, frozen or not); it
takes seconds to make, which PyTorch's cache on disk saves the next time. Further ones run uncompiled, which
PyTorch says in a warning."""

NARROW = 256
"""Bits of shorter vectors, where AVX-512 has 512. float32 takes them: memory bounds these loops, so they are
as fast, while channels that left half a long vector over (8, 24, 40) were taken one by one, up to twenty
times as slowly. bfloat16, of which a long vector holds 32 numbers, takes them only where half of one is left
over (16, 48, 80 channels); with a quarter left over (8, 24, 40) it is slow either way."""

ONE_LOOP = {"realize_reads_threshold": 1000, "realize_opcount_threshold": 10_000}
"""What several results of a pass share is computed within their loop. By default the compiler writes what
takes more than 4 readings or 30 operations to memory as float32 and reads it again in loops of their own."""

_failures: list[str] = []
"""Why a shape could not be compiled although the trial could; nothing is compiled after the first."""


def are_usable() -> bool:
    """Whether passes can be compiled here and none has failed; said once where they cannot."""
    return not _failures and _compiler_works()


def in_one_loop(function: Callable[P, T]) -> Callable[P, T]:
    """Compile ``function`` for each number of channels as it comes; where that fails it runs as it is.

    Args:
        function: Of ``(B, C, H, W)`` maps, the first argument among them, ``(B, C)`` and ``(C,)``.
    """
    compiled: dict[bool, Callable[P, T]] = {}

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if _failures:
            return function(*args, **kwargs)
        first = args[0]
        assert isinstance(first, torch.Tensor)
        narrow = _is_narrow(first)
        for values in (*args, *kwargs.values()):
            _let_sizes_vary(values)
        try:
            if narrow not in compiled:  # only now, since importing the compiler takes seconds
                compiled[narrow] = _compile(function, narrow)
            return compiled[narrow](*args, **kwargs)
        except Exception as error:  # the compiler's errors have no common type
            _failures.append(str(error))
            logger.warning(
                "Training goes on without its fused CPU loops, since one could not be made or run: %s",
                _first_line(error),
            )
            return function(*args, **kwargs)

    return run


@functools.lru_cache(maxsize=1)
def _compiler_works() -> bool:
    if torch._dynamo.config.disable:  # by TORCHDYNAMO_DISABLE
        return False
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it reports that there is no GPU
    try:
        for limit in ("recompile_limit", "accumulated_recompile_limit"):
            setattr(torch._dynamo.config, limit, max(getattr(torch._dynamo.config, limit), VARIANTS))
        with torch.no_grad():
            for dtype, channels in ((torch.bfloat16, 32), (torch.bfloat16, 16), (torch.float32, 32)):
                values = torch.zeros(2, channels, dtype=dtype)
                _compile(_trial, _is_narrow(values))(values)
    except Exception as error:
        logger.warning(
            "Training runs without its fused CPU loops, which need a C++ compiler, Python's headers "
            "(Debian: g++ and python3-dev) and a folder to write to (TORCHINDUCTOR_CACHE_DIR): %s",
            _first_line(error),
        )
        return False
    return True


def _is_narrow(maps: torch.Tensor) -> bool:
    """Whether loops over the channels of ``(B, C, ...)`` are to take half a vector at a time."""
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    return maps.dtype == torch.float32 or maps.shape[1] % 32 == 16


def _let_sizes_vary(values: object) -> None:
    """Have all dimensions of a tensor but the channels stand for any number where it is compiled for."""
    if isinstance(values, torch.Tensor) and values.ndim > 1:
        torch._dynamo.maybe_mark_dynamic(values, [axis for axis in range(values.ndim) if axis != 1])


def _compile(function: Callable[P, T], narrow: bool) -> Callable[P, T]:
    options: dict[str, Any] = ONE_LOOP | ({"cpp.simdlen": NARROW} if narrow else {})
    compiled: Callable[P, T] = torch.compile(function, dynamic=False, options=options)
    return compiled


def _trial(values: torch.Tensor) -> torch.Tensor:
    return (values.float() * 2).to(values.dtype)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
