"""facelex on a folder of pictures, in a process of its own: `python folder.py '{"folder": ..., ...}'`."""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path

from protocol import peak_memory


def main() -> None:
    import facelex

    job = json.loads(sys.argv[1])
    recognizer = facelex.Recognizer(job.get("model"))
    paths = sorted(Path(job["folder"]).iterdir())
    for _ in recognizer.predict_many(paths[:2], detect=job["detect"]):
        pass  # load the networks
    start = time.perf_counter()
    faces = failed = 0
    for result in recognizer.predict_many(islice(paths, job["count"]), detect=job["detect"]):
        faces += len(result.faces)
        failed += result.error is not None
    seconds = time.perf_counter() - start
    answer = {"seconds": seconds, "faces": faces, "failed": failed, "peak_mb": peak_memory()}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
