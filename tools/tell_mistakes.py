"""What tools and benchmarks do with a mistake of their user: one line, exit code 2, as ``facelex`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from facelex.errors import FacelexError, printable, shorten


def tell_mistakes(main: Callable[[], None]) -> None:
    """Run a tool; a file that is not there, or that cannot be read or written, is a mistake as well."""
    try:
        main()
    except FacelexError as error:
        _complain(str(error))
    except OSError as error:
        if not isinstance(error.filename, str | Path):  # of no file that the user has named
            raise
        _complain(f"{error.strerror}: {shorten(str(error.filename))}.")


def _complain(message: str) -> None:
    print(f"{Path(sys.argv[0]).stem}: {printable(message)}", file=sys.stderr)
    sys.exit(2)
