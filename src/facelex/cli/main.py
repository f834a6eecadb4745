"""The ``facelex`` command: verbs are loaded only when called, so ``--help`` stays quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App
from rich.console import Console

from facelex import __version__
from facelex.errors import FacelexError

VERBS: dict[str, str] = {
    "data": "Prepare, inspect and download datasets.",
    "train": "Train one run: a baseline or a word-supervised network.",
    "evaluate": "Score a run or a model on a split, with confidence intervals.",
    "compare": "Train and compare backbones, methods and seeds as one table.",
    "tune": "Search hyperparameters.",
    "report": "Curves, confusion matrices and tables of runs as HTML and PNG.",
    "export": "Write a run as one ONNX file that needs no PyTorch.",
    "predict": "Recognise emotions in photos, folders, videos or a webcam.",
    "search": "Find the photos whose faces best match a phrase.",
    "serve": "Serve predictions over HTTP with a web page.",
}


def create_app() -> App:
    """Build the command line, each verb a lazily imported ``app`` of ``facelex.cli.<verb>``."""
    app = App(name="facelex", help=__doc__ and "Facial emotion recognition with word embeddings.",
              version=__version__)  # fmt: skip
    from importlib.util import find_spec

    for verb, summary in VERBS.items():
        if find_spec(f"facelex.cli.{verb}") is not None:
            app.command(f"facelex.cli.{verb}:app", name=verb, help=summary)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        The exit code: 0 done, 1 some inputs failed or a bug of ours, 2 the user's mistake.
    """
    errors = Console(stderr=True)
    try:
        result = create_app()(
            list(sys.argv[1:] if argv is None else argv), exit_on_error=False, result_action="return_value"
        )
    except FacelexError as error:
        errors.print(f"[bold red]facelex:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        code = 2
    except KeyboardInterrupt:
        errors.print("facelex: stopped by the user.")
        code = 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader (head, less) has gone
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception as error:
        code = _unexpected(error, errors)
    else:
        code = result if isinstance(result, int) else 0
    if argv is None:
        sys.exit(code)
    return code


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _unexpected(error: Exception, console: Console) -> int:
    from cyclopts import CycloptsError

    if isinstance(error, CycloptsError):
        return 2  # cyclopts has printed its own sentence
    console.print_exception()
    console.print("facelex: this is a bug of ours; please report it with the lines above.")
    return 1


if __name__ == "__main__":
    main()
