"""The tools that are compared, each in an environment of its own: what to install, and how large that is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Peer:
    """One row of the comparison."""

    name: str
    package: str
    """The package whose version is shown; also names the environment."""
    runner: str
    """File in this folder."""
    install: tuple[str, ...]
    """What pip or npm is given."""
    note: str = ""
    """What its installation needs beyond its own name, and why."""
    options: dict[str, Any] = field(default_factory=dict)
    """Passed to the runner."""

    @property
    def is_node(self) -> bool:
        """Whether this is an npm package."""
        return self.runner.endswith(".mjs")


PEERS = (
    Peer("facelex", "facelex", "run_facelex.py", (str(ROOT),)),
    Peer(
        "facelex, no flip",
        "facelex",
        "run_facelex.py",
        (str(ROOT),),
        note="as above, but each face is read once rather than averaged with its mirror image",
        options={"flip": False},
    ),
    Peer(
        "facelex, small",
        "facelex",
        "run_facelex.py",
        (str(ROOT),),
        note="a smaller model of the package, each face averaged with its mirror image",
        options={"model": "small"},
    ),
    Peer(
        "facelex, tiny",
        "facelex",
        "run_facelex.py",
        (str(ROOT),),
        note="the package's smallest model, each face averaged with its mirror image",
        options={"model": "tiny"},
    ),
    Peer(
        "fer",
        "fer",
        "run_fer.py",
        ("fer", "setuptools<81", "opencv-contrib-python<5"),
        note="it imports pkg_resources and reads a cascade file: gone from newer setuptools and OpenCV",
    ),
    Peer(
        "@vladmandic/human",
        "@vladmandic/human",
        "run_human.mjs",
        (
            "@vladmandic/human",
            "@tensorflow/tfjs-core",
            "@tensorflow/tfjs-converter",
            "@tensorflow/tfjs-backend-wasm",
            "jpeg-js",
        ),
        note="WebAssembly backend; the native one (tfjs-node) downloads a library from outside the registry",
    ),
    Peer("hsemotion-onnx", "hsemotion-onnx", "run_hsemotion.py", ("hsemotion-onnx",)),
    Peer(
        "deepface",
        "deepface",
        "run_deepface.py",
        ("deepface", "werkzeug", "opencv-contrib-python-headless<5"),
        note="it imports werkzeug without requiring it, and reads a cascade file: gone from newer OpenCV",
    ),
)


def environment(peer: Peer, folder: Path) -> Path:
    """Return the folder of a tool's environment."""
    return folder / peer.package.replace("/", "-").lstrip("@")


def set_up(peer: Peer, folder: Path) -> str | None:
    """Install a tool afresh; return why that failed, or None."""
    home = environment(peer, folder)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        if peer.is_node:
            (home / "package.json").write_text('{"private": true}')
            _call(["npm", "install", "--no-audit", "--no-fund", *peer.install], home)
        else:
            _install_python(home, peer.install)
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        reason = f"could not be installed: {_last_line(output)}"
        (home / "installed.json").write_text(json.dumps({"error": reason}))
        return reason
    size = installed_bytes(home, peer)
    (home / "installed.json").write_text(json.dumps({"version": _version(home, peer), "bytes": size}))
    return None


def installed(peer: Peer, folder: Path) -> dict[str, Any]:
    """Return what `set_up` noted: ``version`` and ``bytes``, or ``error``."""
    record = environment(peer, folder) / "installed.json"
    if not record.exists():
        return {"error": "is not installed: run once with --setup"}
    return json.loads(record.read_text())


def is_outdated(peer: Peer, folder: Path) -> bool:
    """Return whether facelex's own files are newer than its installation here."""
    record = environment(peer, folder) / "installed.json"
    sources = (path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return record.exists() and record.stat().st_mtime < max(path.stat().st_mtime for path in sources)


def installed_bytes(home: Path, peer: Peer) -> int:
    """Return the size of a tool with everything it needs, but without Python or Node, pip and byte code."""
    top = home / "node_modules" if peer.is_node else _site_packages(home)
    total = 0
    for place, folders, files in os.walk(top):
        left_out = ("__pycache__", "pip") if Path(place) == top else ("__pycache__",)
        folders[:] = [name for name in folders if name not in left_out and not name.startswith("pip-")]
        total += sum((Path(place) / name).lstat().st_size for name in files)
    return total


def command(peer: Peer, folder: Path, job: dict[str, Any]) -> list[str]:
    """Return the command that starts a tool's runner."""
    runner = str(Path(__file__).parent / peer.runner)
    first = "node" if peer.is_node else str(python(peer, folder))
    return [first, runner, json.dumps({**job, **peer.options})]


def python(peer: Peer, folder: Path) -> Path:
    """Return the interpreter of a tool's environment."""
    home = environment(peer, folder)
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _install_python(home: Path, packages: tuple[str, ...]) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    inside = str(home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if uv:
        _call([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], home.parent)
        _call([uv, "pip", "install", "--quiet", "--python", inside, *packages], home)
    else:
        _call([sys.executable, "-m", "venv", str(home)], home.parent)
        _call([inside, "-m", "pip", "install", "--quiet", *packages], home)
    # The first import would otherwise pay for compiling everything, for some tools half a minute.
    _call([inside, "-m", "compileall", "-q", str(_site_packages(home))], home, check=False)


def _site_packages(home: Path) -> Path:
    return next(home.glob("lib/python3*/site-packages"), home / "Lib" / "site-packages")


def _version(home: Path, peer: Peer) -> str:
    if peer.is_node:
        record = home / "node_modules" / peer.package / "package.json"
        return str(json.loads(record.read_text())["version"])
    name = peer.package.replace("-", "_")
    return next(_site_packages(home).glob(f"{name}-*.dist-info")).name.split("-")[1].removesuffix(".dist")


def _call(arguments: list[str], place: Path, check: bool = True) -> None:
    subprocess.run(arguments, cwd=place, check=check, capture_output=True, text=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
