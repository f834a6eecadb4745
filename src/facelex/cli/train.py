"""``facelex train``: one run, from a configuration to a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from facelex.cli.options import set_torch_threads
from facelex.cli.screen import outliving_the_reader
from facelex.errors import FacelexError, require
from facelex.run_files import CONFIG, has_checkpoint, is_complete

app = App(name="train")


@app.default
@outliving_the_reader()
def train(
    *,
    config: Annotated[str | None, Parameter(name=["--config", "-c"])] = None,
    overrides: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    data: str | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    devices: str = "1",
    num_nodes: int = 1,
    threads: int | None = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a network and write a run folder: weights, curves, configuration, validation predictions.

    Args:
        config: A shipped configuration (quick, paper, sketch, ...) or a YAML file; by default quick, or with
            --resume the one in the run folder.
        overrides: Change one setting, for example --set model.image_encoder=resnet18; may be repeated.
        output: The run folder; by default runs/CONFIG-METHOD-ENCODER-sSEED.
        resume: Continue the run in the folder from its last checkpoint, and leave it as it is if it has
            finished. With --config also begin it if there is none yet.
        data: Dataset file, in place of the configuration's.
        accelerator: auto, cpu or cuda.
        devices: Number of devices (processes) on this node, or auto.
        num_nodes: Number of nodes, under torchrun or Slurm.
        threads: CPU threads; all cores by default.
        quiet: Print only the last line.
    """
    require("torch", "train", "Training")
    from facelex.training.memory import keep_memory

    keep_memory()
    from rich.console import Console

    from facelex.data.load import load_dataset
    from facelex.training.config import load_config
    from facelex.training.fabric import rank_zero_only
    from facelex.training.progress import RichReporter, SilentReporter
    from facelex.training.run import train_run

    if config is None:
        config = _own_config(output) if resume and output is not None else "quick"
    run_config = load_config(config, overrides or [], data=data)
    if output is None:
        encoder = run_config.model.image_encoder.replace(":", "-")
        output = Path("runs") / f"{Path(config).stem}-{run_config.method}-{encoder}-s{run_config.seed}"
    set_torch_threads(threads)
    count: int | str = devices if devices == "auto" else _count(devices)
    # with several devices this code runs once on each; a Slurm task that trains by itself has a rank too
    console = Console(quiet=(count != 1 or num_nodes > 1) and getattr(rank_zero_only, "rank", 0) != 0)
    start = f" · from {run_config.start_from}" if run_config.start_from else ""
    network = run_config.model.image_encoder
    title = f"{run_config.method} · {network}{start} · seed {run_config.seed} → {output}"
    if resume and not has_checkpoint(output):
        title += f"\nNo checkpoint in {output} yet: starting from the beginning."
    finished = resume and is_complete(output)
    result = train_run(
        run_config,
        load_dataset(run_config.data),
        output,
        resume=resume,
        accelerator=accelerator,
        devices=count,
        num_nodes=num_nodes,
        reporter=SilentReporter() if quiet else RichReporter(console, title),
    )
    console.print(
        f"{result.folder}: {'finished already, ' if finished else ''}"
        f"validation accuracy {100 * result.val_accuracy:.2f} %",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _own_config(folder: Path) -> str:
    """The configuration that a run folder was begun with."""
    path = folder / CONFIG
    if not path.is_file():
        what = f"it holds no {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise FacelexError(
            f"Expected a run to continue in {folder}, but {what}. Check the name, or say with --config "
            "what to begin there."
        )
    return str(path)


def _count(devices: str) -> int:
    if not devices.isdigit() or int(devices) < 1:
        raise FacelexError(f"Expected --devices auto or a number of at least 1, but got {devices!r}.")
    return int(devices)
