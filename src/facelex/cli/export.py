"""``facelex export``: a finished run as one ONNX file that needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from facelex.cli.options import set_torch_threads
from facelex.errors import FacelexError, require

app = App(name="export")


@app.default
def export(
    run: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model.onnx"),
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    data: str | None = None,
    name: str | None = None,
    card: Path | None = None,
    threads: int | None = None,
) -> None:
    """Write a run as one ONNX file that needs no PyTorch.

    The file holds the network, the text side of the shared space, its calibration and a record of the run.
    Its answers are compared with PyTorch's before anything is written.

    Args:
        run: A run folder that has finished.
        output: The file to write.
        precision: fp32, fp16 (half the size, same speed) or int8 (a quarter of the size); the change in
            validation accuracy is measured and printed.
        data: The run's dataset, if its file has moved.
        name: Name of the model; by default the run folder's.
        card: A Markdown file to travel in the model as its card.
        threads: CPU threads; all cores by default.
    """
    require("torch", "train", "Exporting")
    set_torch_threads(threads)
    from rich.console import Console

    from facelex.recognize.model import load_model
    from facelex.training.export import export_run

    path = export_run(run, output, precision=precision, name=name, card=_read_card(card), data=data)
    metadata = load_model(path).metadata
    measured = metadata.precision
    Console(highlight=False, soft_wrap=True, markup=False, emoji=False).print(
        f"{path}: {path.stat().st_size / 1e6:.2f} MB, {precision}; validation accuracy "
        f"{100 * measured['val_accuracy']:.2f} % (PyTorch {100 * measured['val_accuracy_pytorch']:.2f} %), "
        f"temperature {metadata.temperature:.3f}, unsure below {metadata.unsure_below:.2f}"
    )


def _read_card(card: Path | None) -> str | None:
    if card is None:
        return None
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FacelexError(f"Cannot read the model card {card}: {error}.") from error
