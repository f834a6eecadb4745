"""Bring `.venv` up to date with pyproject.toml and the pins: `python3 tools/environment.py [EXTRA ...]`.

Needs nothing but Python 3.11 with its venv module. A second call only compares checksums.
Extras add up: after `make test`, `make demo` finds its light core already there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "facelex-environment.json"
INSTALLER = ROOT / "constraints" / "installer.txt"
PINNED = ROOT / "constraints" / "pinned.txt"


def main(extras: list[str]) -> None:
    """Install facelex in editable mode with ``extras`` unless that has been done already."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before anything is installed
        sys.exit(f"facelex needs Python 3.11 or newer, but this is {sys.version.split()[0]}.")
    installed = read_stamp()
    if set(extras) <= set(installed.get("extras", [])) and installed.get("checksum") == checksum():
        return
    if not works(PYTHON):
        create()
    everything = sorted({*installed.get("extras", []), *extras})
    name = f"facelex[{','.join(everything)}]" if everything else "facelex"
    print(f"Installing {name} into .venv", file=sys.stderr, flush=True)
    STAMP.unlink(missing_ok=True)
    install(["--editable", f"{ROOT}[{','.join(everything)}]" if everything else str(ROOT)])
    STAMP.write_text(json.dumps({"extras": everything, "checksum": checksum()}))


def checksum() -> str:
    """SHA-256 over everything that decides what gets installed."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", INSTALLER, PINNED):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_stamp() -> dict:
    """Return what the last finished installation noted, or an empty dictionary."""
    try:
        return json.loads(STAMP.read_text()) if PYTHON.exists() else {}
    except (OSError, ValueError):
        return {}


def works(python: Path) -> bool:
    """Tell whether the environment is there and its interpreter, often a link, still runs."""
    try:
        return subprocess.run([python, "-c", "import encodings"], check=False).returncode == 0
    except OSError:
        return False


def create() -> None:
    """Make an empty environment; without pip if this Python has no ensurepip (Debian) but uv is there."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        if not shutil.which("uv"):
            sys.exit("Expected Python with venv and pip. On Debian and Ubuntu: apt-get install python3-venv")
        venv.create(VENV, clear=True)
    else:
        venv.create(VENV, clear=True, with_pip=True)


def install(what: list[str]) -> None:
    """Install with uv, which is pinned and put into the environment first, or with pip if that cannot be."""
    uv = find_uv()
    if uv is None:
        command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    else:
        command = [uv, "pip", "install", "--quiet", "--python", PYTHON]
    finished = subprocess.run([*command, "--constraint", PINNED, *what], check=False)
    if finished.returncode:
        sys.exit(f"Could not install facelex: {Path(command[0]).name} ended with {finished.returncode}.")


def find_uv() -> Path | str | None:
    """Return a uv to install with: the environment's own, or else the machine's."""
    own = PYTHON.with_name("uv")
    if not own.exists():
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", INSTALLER]
        subprocess.run(pip, check=False, stderr=subprocess.DEVNULL)
    return own if own.exists() else shutil.which("uv")


if __name__ == "__main__":
    os.environ.pop("VIRTUAL_ENV", None)  # else uv warns about another environment that happens to be active
    main(sys.argv[1:])
