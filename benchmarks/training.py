"""Training throughput: the conventional pipeline beside ours, on the same network, batch and augmentation.

    python benchmarks/training.py --encoders vgg11,slim_l --batches 6 --output training.json

(a) the usual script: one PIL image at a time through torchvision transforms and DataLoader workers, float32,
channels first, eager; (b) facelex: the split resident as uint8, whole batches augmented by one grid_sample,
bf16, channels-last. Both are timed in turns within one process tree, so that a busy machine slows both; the
table gives medians and ratios. Faces are drawn, so no dataset is needed: what they show costs nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from facelex.data.sketch import sketch_dataset
from facelex.models.dual_encoder import DualEncoder
from facelex.models.registry import create_image_encoder
from facelex.training.augment import augment_images
from facelex.training.config import AugmentConfig

AUGMENT = AugmentConfig(rotation=10, translation=0.08, resize=0.1, crop=0, reflection=0.5)


class PilFaces(Dataset):
    """What the usual scripts do: an array row becomes a PIL image, then five transforms."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose([
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(10, translate=(0.08, 0.08), scale=(0.9, 1.1)),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.25]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.pixels[index, 0].numpy(), mode="L")
        return self.transform(image), int(self.labels[index])


def conventional_batches(
    pixels: Tensor, labels: Tensor, batch: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(PilFaces(pixels, labels), batch, shuffle=True, num_workers=workers, drop_last=True)
    while True:
        yield from loader


def our_batches(pixels: Tensor, labels: Tensor, batch: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    pixels, labels = pixels.to(device), labels.to(device)
    generator = torch.Generator(device).manual_seed(0)
    while True:
        for index in torch.randperm(len(labels), generator=generator, device=device).split(batch):
            if len(index) == batch:
                yield augment_images(pixels[index], 48, AUGMENT, generator), labels[index]


def make_step(encoder: str, device: str, fast: bool) -> Callable[[Tensor, Tensor], None]:
    torch.manual_seed(0)
    model: nn.Module = DualEncoder(create_image_encoder(encoder), 7).to(device)
    if fast:
        model = model.to(memory_format=torch.channels_last)
    options = {"fused": True} if fast else {"foreach": False}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, **options)

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=fast):
            loss = F.cross_entropy(model(images).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(encoder: str, batch: int, rounds: int, workers: int, device: str) -> dict[str, float | str]:
    faces = sketch_dataset(max(4 * batch, 512))
    pixels, labels = torch.from_numpy(faces.pixels).unsqueeze(1), torch.from_numpy(faces.labels)
    usual = conventional_batches(pixels, labels, batch, workers)
    ours = our_batches(pixels, labels, batch, device)
    usual_step, our_step = make_step(encoder, device, fast=False), make_step(encoder, device, fast=True)
    fixed_usual = [t.to(device) for t in next(usual)]
    fixed_ours = next(ours)
    for _ in range(2):  # warm up
        usual_step(*fixed_usual)
        our_step(*fixed_ours)
    parts: dict[str, Callable[[], object]] = {
        "conventional, data": lambda: next(usual),
        "facelex, data": lambda: next(ours),
        "conventional, model": lambda: usual_step(*fixed_usual),
        "facelex, model": lambda: our_step(*fixed_ours),
        "conventional, both": lambda: usual_step(*[t.to(device) for t in next(usual)]),
        "facelex, both": lambda: our_step(*next(ours)),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, work in parts.items():
            times[name].append(seconds(work))
    rates: dict[str, float | str] = {
        name: batch / statistics.median(values) for name, values in times.items()
    }
    for part in ("data", "model", "both"):
        rates[f"ratio, {part}"] = float(rates[f"facelex, {part}"]) / float(rates[f"conventional, {part}"])
    data_share = statistics.median(times["facelex, data"]) / statistics.median(times["facelex, both"])
    return {"encoder": encoder, "batch": float(batch), **rates, "augmentation share of our step": data_share}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", default="vgg11,vgg16,resnet18,resnet50")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=5, help="timed rounds")
    parser.add_argument(
        "--workers", type=int, default=2, help="DataLoader workers of the conventional pipeline"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of both")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--output", type=Path, help="write JSON here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = [compare(e, options.batch, options.batches, options.workers, options.device)
            for e in options.encoders.split(",")]  # fmt: skip
    print("| encoder | part | conventional, images/s | facelex, images/s | ratio |\n|---|---|---|---|---|")
    for row in rows:
        for part in ("data", "model", "both"):
            print(f"| {row['encoder']} | {part} | {row[f'conventional, {part}']:,.0f} "
                  f"| {row[f'facelex, {part}']:,.0f} | {row[f'ratio, {part}']:.1f} |")  # fmt: skip
    if options.output:
        hardware = {
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        options.output.write_text(json.dumps({"hardware": hardware, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
