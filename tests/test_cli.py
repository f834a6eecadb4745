"""The command line around its verbs: help, exit codes, and one sentence for whatever goes wrong."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from PIL import Image

from facelex import __version__
from facelex.cli import main as command
from facelex.cli.main import main
from facelex.errors import FacelexError

SOURCE = Path(command.__file__).parents[2]
PRESENT = [verb for verb in command.VERBS if (SOURCE / "facelex" / "cli" / f"{verb}.py").exists()]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Make a function the verb ``fake``."""

    def install(function: Callable[..., Any]) -> None:
        app = App(name="fake")
        app.default(function)
        module = types.ModuleType("facelex.cli.fake")
        module.__spec__ = ModuleSpec("facelex.cli.fake", None)
        module.app = app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "facelex.cli.fake", module)
        monkeypatch.setitem(command.VERBS, "fake", "A verb of the tests.")

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter that finds facelex in this checkout."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_help_lists_every_verb_in_the_order_of_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert len(PRESENT) > 3
    assert [line.split()[1] for line in shown.splitlines() if re.match("│ [a-z]", line)] == PRESENT
    assert main([]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", PRESENT)
def test_every_verb_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"facelex {name}" in capsys.readouterr().out


def test_every_file_beside_main_is_a_verb() -> None:
    files = {path.stem for path in (SOURCE / "facelex" / "cli").glob("[!_]*.py")} - {"main"}
    verbs = {
        name for name in files if "app = App(" in (SOURCE / "facelex" / "cli" / f"{name}.py").read_text()
    }
    assert verbs <= set(command.VERBS)


def test_help_loads_neither_verbs_nor_numpy() -> None:
    code = (
        "from facelex.cli.main import main; code = main(['--help'])\n"
        "heavy = {'numpy', 'PIL', 'onnxruntime', 'torch', 'matplotlib', 'pandas', 'pydantic'}\n"
        "loaded = {name[12:] for name in sys.modules if name.startswith('facelex.cli.')}\n"
        "verbs = sorted(loaded - {'main', 'options', 'screen'})\n"
        "print(code, sorted(heavy & set(sys.modules)), verbs)"
    )
    assert fresh(code).stdout.splitlines()[-1] == "0 [] []"


def test_a_verbs_help_tells_all_that_its_docstring_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["search", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Nothing is stored unless --index names a file. What cannot be read is reported" in told
    assert main(["--help"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert command.VERBS["serve"] in listed
    assert "Nothing is stored" not in listed


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_verb_names_the_nearest_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith('facelex: Unknown command "trian". Did you mean "train"?')
    assert printed.err.count("trian") == 1


def test_an_unknown_option_is_named_once(capsys: pytest.CaptureFixture[str], verb: Callable) -> None:
    def count(*, depth: int = 0) -> None:
        """Count."""

    verb(count)
    assert main(["fake", "--deptt", "3"]) == 2
    assert capsys.readouterr().err == "facelex: Unknown option: --deptt. Did you mean --depth?\n"
    assert main(["fake", "--depth", "three"]) == 2
    assert (
        capsys.readouterr().err == 'facelex: Invalid value for --depth: unable to convert "three" into int.\n'
    )


def test_the_users_mistake_is_one_sentence_and_code_2(
    capsys: pytest.CaptureFixture[str], verb: Callable
) -> None:
    sentence = "Expected a folder, but got [red]photos[/red]/x.jpg. Name a folder " + "that is there " * 20
    verb(raising(FacelexError(sentence)))
    assert main(["fake"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"facelex: {sentence.strip()}\n")


def test_a_terminal_is_given_no_control_characters_of_a_name(
    capsys: pytest.CaptureFixture[str], verb: Callable
) -> None:
    verb(raising(FacelexError("Expected a photo, but got \x1b[31mred\x9b0m\r\x07.jpg.\nTwo lines, ä.")))
    assert main(["fake"]) == 2
    assert capsys.readouterr().err == (
        "facelex: Expected a photo, but got \\x1b[31mred\\x9b0m\\x0d\\x07.jpg.\nTwo lines, ä.\n"
    )


def test_a_full_disk_is_no_bug(capsys: pytest.CaptureFixture[str], verb: Callable) -> None:
    verb(raising(OSError(errno.ENOSPC, "No space left on device", "runs/a/checkpoint.pt")))
    assert main(["fake"]) == 2
    assert capsys.readouterr().err == "facelex: No space left on device: runs/a/checkpoint.pt.\n"


def test_a_name_too_long_for_the_disk_is_no_bug(capsys: pytest.CaptureFixture[str], verb: Callable) -> None:
    verb(raising(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 400)))
    assert main(["fake"]) == 2
    assert capsys.readouterr().err == f"facelex: File name too long: {'a' * 120}...{'a' * 40}.\n"
    verb(raising(OSError(errno.EACCES, "Permission denied", 5)))  # a file's number in place of its name
    assert main(["fake"]) == 2
    assert capsys.readouterr().err == "facelex: Permission denied: 5.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="names on Windows are limited as paths")
@pytest.mark.parametrize(
    "call",
    [
        "predict NAME.mp4",
        "predict photo.png --model tiny --no-detect -o NAME.csv",
        "predict photo.png --model tiny --detector yunet --detector-model NAME",
        "search sad photo.png --model tiny --no-detect --index NAME",
        "data prepare NAME",
        "evaluate NAME",
        "report NAME",
    ],
)
def test_a_name_that_is_too_long_is_no_bug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (48, 48)).save("photo.png")
    assert main(call.replace("NAME", "x" * 300).split()) == 2
    assert re.fullmatch(r"facelex: .*[Tt]oo long.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("error", [ZeroDivisionError("by nought"), OSError(errno.EIO, "input/output error")])
def test_a_bug_shows_its_traceback_and_code_1(
    capsys: pytest.CaptureFixture[str], verb: Callable, error: Exception
) -> None:
    verb(raising(error))
    assert main(["fake"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert type(error).__name__ in printed
    assert printed.endswith("facelex: this is a bug of ours; please report it with the lines above.\n")


def test_an_interrupted_verb_ends_with_130(capsys: pytest.CaptureFixture[str], verb: Callable) -> None:
    verb(raising(KeyboardInterrupt()))
    assert main(["fake"]) == 130
    assert capsys.readouterr().err == "facelex: stopped by the user.\n"


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_a_verbs_answer_becomes_the_exit_code(verb: Callable, answer: object, code: int) -> None:
    verb(lambda: answer)
    assert main(["fake"]) == code


@pytest.mark.parametrize(("error", "code"), [(SystemExit(3), 3), (SystemExit(), 0), (SystemExit("no"), 1)])
def test_system_exit_keeps_its_code(verb: Callable, error: SystemExit, code: int) -> None:
    verb(raising(error))
    assert main(["fake"]) == code


def test_the_process_exits_with_the_code_and_python_m_facelex_is_the_command() -> None:
    finished = fresh("import runpy; sys.argv = ['facelex', 'data', 'info', 'nowhere.npz']\n"
                     "runpy.run_module('facelex', run_name='__main__')")  # fmt: skip
    assert finished.returncode == 2
    assert finished.stderr.startswith("facelex: ")
    assert "nowhere.npz" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("name", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_running_process_with_its_code_and_without_a_traceback(
    name: str, exit_code: int
) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
import signal, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from importlib.machinery import ModuleSpec
from cyclopts import App
from facelex.cli import main as command
module = types.ModuleType("facelex.cli.fake"); module.__spec__ = ModuleSpec("facelex.cli.fake", None)
module.app = App(name="fake")
@module.app.default
def wait():
    print("ready", flush=True); time.sleep(60)
sys.modules["facelex.cli.fake"] = module; command.VERBS["fake"] = ""
sys.argv = ["facelex", "fake"]; command.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (exit_code, "facelex: stopped by the user.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_a_terminal_that_closes_hides_no_signal(tmp_path: Path) -> None:
    """With a bar on it: rich writes once more when it ends, and that would fail."""
    kept = tmp_path / "kept"
    code = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
import pathlib, time, types
from importlib.machinery import ModuleSpec
from cyclopts import App
from facelex.cli import main as command
from facelex.cli.progress import progress_bar
from facelex.cli.screen import tell
module = types.ModuleType("facelex.cli.fake"); module.__spec__ = ModuleSpec("facelex.cli.fake", None)
module.app = App(name="fake")
@module.app.default
def wait():
    try:
        with progress_bar("Waiting", shown=True) as progress:
            for second in range(600):
                progress(second, 600); time.sleep(0.1)
    finally:
        tell("stopped"); pathlib.Path({str(kept)!r}).touch()
sys.modules["facelex.cli.fake"] = module; command.VERBS["fake"] = ""
sys.argv = ["facelex", "fake"]; command.main()
"""
    import pty

    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which the tests may have been told to ignore
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown = b""
    while b"Waiting" not in shown:
        shown += os.read(terminal, 1024)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert kept.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_is_to_be_ignored_stays_ignored_and_a_program_that_calls_main_keeps_its_signals() -> None:
    code = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
import signal
from facelex.cli import main as command
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
before = signal.getsignal(signal.SIGTERM)
command.main(["--version"])
assert signal.getsignal(signal.SIGTERM) is before
sys.argv = ["facelex", "--version"]
try:
    command.main()
except SystemExit:
    pass
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM) is before)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert finished.stdout.splitlines()[-1] == "True False", finished.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
from facelex.cli import main as command
def write(argv, **options):
    for _ in range(100_000): print("a line")
command.create_app = lambda *_: write
sys.argv = ["facelex"]; command.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert (process.wait(timeout=120), process.stderr.read()) == (0, "")


def test_a_broken_pipe_elsewhere_is_a_fault(verb: Callable) -> None:
    """A tracker's service or another process has died, while stdout has its reader."""
    code = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
import types
from importlib.machinery import ModuleSpec
from cyclopts import App
from facelex.cli import main as command
module = types.ModuleType("facelex.cli.fake"); module.__spec__ = ModuleSpec("facelex.cli.fake", None)
module.app = App(name="fake")
@module.app.default
def fail():
    raise BrokenPipeError(32, "Broken pipe")
sys.modules["facelex.cli.fake"] = module; command.VERBS["fake"] = ""
sys.argv = ["facelex", "fake"]; command.main()
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "BrokenPipeError" in process.stderr


def test_want_of_memory_is_one_sentence(capsys: pytest.CaptureFixture[str], verb: Callable) -> None:
    verb(raising(MemoryError("Unable to allocate 78.8 GiB")))
    assert main(["fake"]) == 2
    sentence = "there is not enough memory for this: Unable to allocate 78.8 GiB. Try less at once."
    assert capsys.readouterr().err == f"facelex: {sentence}\n"


def test_letters_that_the_screen_lacks_are_written_out(verb: Callable) -> None:
    code = "import facelex.cli.main as m; m.create_app = lambda *_: lambda *a, **k: print('→ 恐れ'); m.main()"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert (process.returncode, process.stdout) == (0, "\\u2192 \\u6050\\u308c\n")
