"""What only facelex is asked: time of its import and commands, and folders of any size in bounded memory."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers.installing import Peer, python
from PIL import Image

from facelex.data.sketch import sketch_dataset

IMPORT = "import time; start = time.perf_counter(); import facelex; print(time.perf_counter() - start)"
PHOTO_SIZE = (640, 480)


def measure(
    peer: Peer, folder: Path, model: str | None, samples: list[Path], options: argparse.Namespace
) -> dict[str, Any]:
    """Return seconds of the commands, and of each folder its speed and memory."""
    interpreter = str(python(peer, folder))
    recognizer = f"facelex.Recognizer({model!r})" if model else "facelex.Recognizer()"
    first = f"import facelex; print({recognizer}.predict({str(samples[0])!r}))"
    verb = ["-m", "facelex", "predict", str(samples[0]), *(["--model", model] if model else [])]
    commands = {
        "python -c pass": ["-c", "pass"],
        "python -c 'import facelex; facelex.Recognizer().predict(PHOTO)'": ["-c", first],
        "facelex --help": ["-m", "facelex", "--help"],
        "facelex predict PHOTO": verb,
    }
    times: dict[str, list[float]] = {"import facelex": [], **{name: [] for name in commands}}
    for _ in range(options.cold_rounds):
        times["import facelex"].append(float(_output([interpreter, "-c", IMPORT])))
        for name, arguments in commands.items():
            start = time.perf_counter()
            _output([interpreter, *arguments])
            times[name].append(time.perf_counter() - start)
    folders = [
        *_folder(interpreter, model, "crops", options.folder_crops, samples),
        *_folder(interpreter, model, "photos", options.folder_photos, samples),
    ]
    return {
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "folders": folders,
    }


def _folder(
    interpreter: str, model: str | None, kind: str, count: int, samples: list[Path]
) -> list[dict[str, Any]]:
    """Read a tenth of a folder and then all of it, each in a process of its own, and compare their memory."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        (write_crops if kind == "crops" else write_photos)(Path(place), count, samples)
        for part in (count // 10, count):
            job = {"folder": place, "count": part, "detect": kind == "photos", "model": model}
            script = str(Path(__file__).with_name("folder.py"))
            answer = json.loads(_output([interpreter, script, json.dumps(job)]))
            rows.append({"kind": kind, "images": part, "images_per_s": part / answer["seconds"], **answer})
    return rows


def write_crops(place: Path, count: int, samples: list[Path]) -> None:
    """Write ``count`` JPEG files of 48 pixels: drawn faces, each under several names."""
    drawn = sketch_dataset(min(count, 200)).pixels
    for index in range(count):
        Image.fromarray(drawn[index % len(drawn)]).save(place / f"{index:06}.jpg", quality=95)


def write_photos(place: Path, count: int, samples: list[Path]) -> None:
    """Write ``count`` JPEG files of 640 by 480 pixels: a sample photo in any size and place on grey noise."""
    rng = np.random.default_rng(0)
    pictures = [Image.open(path).convert("RGB") for path in samples]
    noise = rng.integers(90, 160, (PHOTO_SIZE[1], PHOTO_SIZE[0], 3), dtype=np.uint8)
    for index in range(count):
        page = Image.fromarray(noise)
        picture = pictures[index % len(pictures)]
        side = int(rng.integers(240, 470))
        small = picture.resize(
            (side, max(1, side * picture.height // picture.width)), Image.Resampling.BILINEAR
        )
        page.paste(small, (int(rng.integers(0, PHOTO_SIZE[0] - side)), 5))
        page.save(place / f"{index:06}.jpg", quality=90)


def _output(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)[:300]}\nfailed:\n{done.stderr[-2000:]}")
    return done.stdout
