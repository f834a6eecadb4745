"""The ``facelex`` command: verbs are loaded only when called, so ``--help`` stays quick."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from importlib.util import find_spec

from cyclopts import App, CycloptsError
from rich.console import Console

from facelex import __version__
from facelex.cli.options import DONE, FAILED, STOPPED, USERS_MISTAKE
from facelex.cli.screen import escape_missing_letters, nowhere, reader_is_gone
from facelex.errors import FacelexError, printable, shorten

VERBS: dict[str, str] = {
    "data": "Prepare, inspect and download datasets.",
    "train": "Train one run: a baseline or a word-supervised network.",
    "evaluate": "Score a run or a model on a split, with confidence intervals.",
    "compare": "Train and compare backbones, methods and seeds as one table.",
    "tune": "Search hyperparameters.",
    "report": "Curves, confusion matrices and tables of runs as HTML and PNG.",
    "export": "Write a run as one ONNX file that needs no PyTorch.",
    "predict": "Recognise emotions in photos, folders, videos or a webcam.",
    "search": "Find the photos, and the moments of videos, whose faces best match a phrase.",
    "words": "Say what a word will look for in faces.",
    "serve": "Serve predictions over HTTP with a web page.",
}

PLACE_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
)  # fmt: skip
"""Not bugs of ours, wherever they come from: the disk is full, over quota, read-only or someone else's, or a
name longer than it takes."""


def create_app(asked: str | None = None) -> App:
    """Build the command line: each verb is the lazily imported ``app`` of ``facelex.cli.<verb>``.

    Args:
        asked: The verb that is called, of which ``--help`` then tells all and not its summary alone.
    """
    app = App(
        name="facelex",
        help="Facial emotion recognition with word embeddings.",
        version=__version__,
        help_format="markdown",
        suppress_keyboard_interrupt=False,
    )
    for place, (verb, summary) in enumerate(VERBS.items()):
        if find_spec(f"facelex.cli.{verb}") is not None:
            told = None if verb == asked else summary
            app.command(f"facelex.cli.{verb}:app", name=verb, help=told, sort_key=place)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; by default ``sys.argv[1:]``, and the process then exits
            with the code.

    Returns:
        The exit code: 0 done, 1 some inputs failed or a bug of ours, 2 the user's mistake, 130 stopped by
        Ctrl-C, 128 and the signal's number when another one ended it.
    """
    if argv is not None:
        return run(argv)
    ended_by = _stop_as_by_ctrl_c()
    code = run(sys.argv[1:])
    sys.exit(128 + ended_by[0] if ended_by and code == STOPPED else code)


def _stop_as_by_ctrl_c() -> list[int]:
    """Let the end of a job or of a terminal keep what Ctrl-C keeps, which is a verb's to decide.

    A second signal finds Python's own answer to it: to end at once. What a closed terminal was shown goes
    nowhere from then on, for writing to it would be an error that hides the signal.

    Returns:
        The list to which the signal is added when it comes.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]  # not under nohup
    ended_by: list[int] = []
    terminals = [fd for fd in (1, 2) if _is_terminal(fd)]  # when it has closed, nothing is one any more

    def stop(number: int, _: object) -> None:
        ended_by.append(number)
        for one in ours:
            signal.signal(one, signal.SIG_DFL)
        if number != signal.SIGTERM:
            for fd in terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in ours:
            signal.signal(number, stop)
    return ended_by


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:  # closed by the caller
        return False


def run(argv: Sequence[str]) -> int:
    """Call the verb that ``argv`` names and turn whatever escapes it into one message and an exit code."""
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()  # closed by the caller
    escape_missing_letters()
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")  # load_image has its limit
    try:
        result = create_app(*argv[:1])(
            list(argv),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except (FacelexError, CycloptsError) as error:
        return _complain(str(error), USERS_MISTAKE)
    except KeyboardInterrupt:
        return _complain("stopped by the user.", STOPPED)
    except BrokenPipeError:
        if not reader_is_gone():  # something else's pipe: a tracker's, another process's
            return _bug()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # that is how rich ends then
            return DONE
        return error.code if isinstance(error.code, int) else DONE if error.code is None else FAILED
    except MemoryError as error:
        reason = f": {error}" if str(error) else ""
        return _complain(f"there is not enough memory for this{reason}. Try less at once.", USERS_MISTAKE)
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            return _bug()
        name = error.filename or "the output"
        place = os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
        return _complain(f"{error.strerror}: {shorten(place)}.", USERS_MISTAKE)
    except Exception:
        return _bug()
    return result if isinstance(result, int) else DONE


def _complain(message: str, code: int) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    console.print("[bold red]facelex:[/]", end=" ")
    console.print(printable(message.strip()), markup=False)
    return code


def _bug() -> int:
    traceback.print_exc()
    return _complain("this is a bug of ours; please report it with the lines above.", FAILED)


if __name__ == "__main__":
    main()
