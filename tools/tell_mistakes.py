"""What the tools do with a mistake of their user: one line and exit code 2, as ``facelex`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from facelex.errors import FacelexError, printable


def tell_mistakes(main: Callable[[], None]) -> None:
    """Run a tool."""
    try:
        main()
    except FacelexError as error:
        print(f"{Path(sys.argv[0]).stem}: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
