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

SHAPES = 64
"""How many loops a process may compile for each pass: loops for any shape would not be vectorised, so each
shape (with autocast on or off) gets its own, in a second that PyTorch's cache on disk saves the next time.
Further shapes run uncompiled, which PyTorch says in a warning."""

NARROW = 256
"""Bits of the vectors for float32 where AVX-512 has 512: as fast for all widths, since memory is what bounds
these loops, while channels that leave half a vector over (8, 24, 40) were taken one by one, up to twenty
times as slowly. bfloat16 keeps the long ones, which fill from 16 channels on."""

_failures: list[str] = []
"""Why a shape could not be compiled although the trial could; none is tried after the first."""


def are_usable() -> bool:
    """Whether passes can be compiled here and none has failed; said once where they cannot."""
    return not _failures and _compiler_works()


def in_one_loop(function: Callable[P, T]) -> Callable[P, T]:
    """Compile ``function``, of tensors, for each shape as it comes; where that fails it runs as it is."""
    compiled: dict[bool, Callable[P, T]] = {}

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        first = args[0]
        assert isinstance(first, torch.Tensor)
        narrow = first.dtype == torch.float32 and "AVX512" in torch.backends.cpu.get_cpu_capability()
        try:
            if narrow not in compiled:  # only now, since importing the compiler takes seconds
                options: dict[str, Any] = {"cpp.simdlen": NARROW} if narrow else {}
                compiled[narrow] = torch.compile(function, dynamic=False, options=options)
            return compiled[narrow](*args, **kwargs)
        except Exception as error:  # the compiler's errors have no common type
            if not _failures:
                _say_why(error)
            _failures.append(str(error))
            return function(*args, **kwargs)

    return run


@functools.lru_cache(maxsize=1)
def _compiler_works() -> bool:
    if torch._dynamo.config.disable:  # by TORCHDYNAMO_DISABLE
        return False
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it reports that there is no GPU
    try:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
        with torch.no_grad():
            torch.compile(_trial, dynamic=False)(torch.zeros(2, 16, dtype=torch.bfloat16))
    except Exception as error:
        _say_why(error)
        return False
    return True


def _trial(values: torch.Tensor) -> torch.Tensor:
    return (values.float() * 2).to(values.dtype)


def _say_why(error: Exception) -> None:
    logger.warning(
        "Training runs without its fused CPU loops, which need a C++ compiler, Python's headers "
        "(Debian: g++ and python3-dev) and a folder to write to (TORCHINDUCTOR_CACHE_DIR): %s",
        str(error).partition("\n")[0],
    )
