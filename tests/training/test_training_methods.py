"""Mixed images, sharpness-aware steps, teachers and alternating reflection in whole runs."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from tiny_training import FACES, StopAfter, differing, predict_run, read_rows, tiny_config, two_phases
from torch import Tensor

from facelex.errors import FacelexError
from facelex.losses.classification import mirror_consistency
from facelex.losses.objective import Objective, Targets
from facelex.models.weights import load_model, load_predictor
from facelex.run_files import TEACHER_ANSWERS
from facelex.training import teachers as teachers_module
from facelex.training.batches import Batch, DeviceSplit, EpochExamples
from facelex.training.config import AugmentConfig, load_config
from facelex.training.examples import Examples
from facelex.training.export import export_run
from facelex.training.fabric import Fabric
from facelex.training.phase import EpochResult, PhaseTrainer
from facelex.training.progress import SilentReporter
from facelex.training.run import Training, train_run
from facelex.training.starting_point import open_starting_point
from facelex.training.step import forward_backward
from facelex.training.teachers import JudgedViews, Teachers

MIXED = "augment={mixup: 0.4, cutmix: 1, mix_probability: 0.7, alternate_reflection: true}"
STUDENT = "methods.multimodal=[{name: imitate, epochs: 2, losses: {distillation: 1, alignment: 0.5}}]"


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two finished runs, of which the second sees larger images."""
    folder = tmp_path_factory.mktemp("teachers")
    for name, settings in {"small": (), "large": ("image_size=32", "seed=1")}.items():
        train_run(tiny_config(*two_phases(1, 1), *settings), FACES, folder / name, accelerator="cpu")
    return folder / "small", folder / "large"


def naming(teachers: tuple[Path, Path]) -> str:
    return f"teachers=[{teachers[0]}, {teachers[1]}]"


METHODS = {
    "mixed images": (MIXED,),
    "sharpness-aware, clipped": ("optimizer.sam_rho=0.05", "optimizer.clip_grad_norm=0.5"),
    "teachers on mixed images": (MIXED, STUDENT, "teacher_views=batch"),
    "cached teachers, mixed images": (MIXED, STUDENT),
    "judged views, mixed images": (MIXED, STUDENT, "teacher_views=2"),
}


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_interrupted_run_with_the_method_ends_with_the_same_bits(
    settings: tuple[str, ...], teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    config = tiny_config(*two_phases(2, 1), *settings, naming(teachers), "precision=bf16-mixed")
    train_run(config, FACES, tmp_path / "whole", accelerator="cpu")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "broken", accelerator="cpu", reporter=StopAfter(1))
    train_run(config, FACES, tmp_path / "broken", accelerator="cpu", resume=True)
    assert differing(tmp_path / "whole", tmp_path / "broken") == []
    columns = ["epoch", "train_loss", "train_accuracy", "val_loss"]
    assert read_rows(tmp_path / "whole", columns) == read_rows(tmp_path / "broken", columns)


@pytest.mark.parametrize(
    "setting",
    [
        "optimizer.sam_rho=0.1",
        "augment.mixup=1",
        "augment.cutmix=1",
        "augment.alternate_reflection=true",
        "logit_adjustment=1",
    ],
)
def test_each_setting_reaches_the_training(setting: str, tmp_path: Path) -> None:
    baseline = ("method=baseline", "methods.baseline.0.epochs=1")
    for name, settings in {"without": (), "with": (setting,)}.items():
        train_run(tiny_config(*baseline, *settings), FACES, tmp_path / name, accelerator="cpu")
    assert len(differing(tmp_path / "without", tmp_path / "with")) > 5


def test_reflection_alternates_over_all_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    train_epoch = PhaseTrainer.train_epoch

    def noted(self: PhaseTrainer, examples: EpochExamples, **rest: Any) -> EpochResult:
        assert examples.mirrored is not None
        seen.append(examples.mirrored)
        return train_epoch(self, examples, **rest)

    monkeypatch.setattr(PhaseTrainer, "train_epoch", noted)
    train_run(tiny_config(*two_phases(1, 2), MIXED), FACES, tmp_path / "r", accelerator="cpu")
    assert len(seen) == 3
    assert len(seen[0]) == len(FACES.indices("train"))
    assert all(bool((one ^ other).all()) for one, other in itertools.pairwise(seen))


def test_teachers_answer_with_their_mean_each_at_its_own_size(teachers: tuple[Path, Path]) -> None:
    images = torch.rand(5, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    fabric = Fabric(accelerator="cpu")
    found = Teachers([str(t) for t in teachers], FACES.class_names, FACES.pixels, fabric)(images)
    expected = torch.zeros(5, 7)
    for folder, size in zip(teachers, (24, 32)):
        model, spec = load_model(folder)
        assert spec.image_size == size
        with torch.no_grad():
            resized = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
            expected += model(resized).logits.softmax(1) / 2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not found.requires_grad
    assert not found.is_inference()
    half = Teachers(
        [str(t) for t in teachers], FACES.class_names, FACES.pixels,
        Fabric(accelerator="cpu", precision="bf16-mixed"),
    )  # fmt: skip
    rounded = half(images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, found)
    torch.testing.assert_close(rounded, found, atol=0.05, rtol=0)


def test_a_model_file_teaches_with_its_cached_answers(teachers: tuple[Path, Path], tmp_path: Path) -> None:
    file = export_run(teachers[0], tmp_path / "teacher.onnx")
    for names in ([file], [file, teachers[1]]):
        config = tiny_config(STUDENT, f"teachers=[{', '.join(map(str, names))}]")
        training = Training(Fabric(accelerator="cpu"), config, FACES, tmp_path / "s", SilentReporter())
        expected = sum(predict_run(folder, "train") for folder in teachers[: len(names)])
        assert training.examples.plain.teacher_probs is not None
        np.testing.assert_allclose(
            training.examples.plain.teacher_probs.numpy(), expected / len(names), atol=1e-5
        )


def test_resuming_with_another_network_under_the_same_name_is_refused(
    teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "teacher.onnx"
    export_run(teachers[0], file)
    config = tiny_config(STUDENT, f"teachers=[{file}]")
    with pytest.raises(KeyboardInterrupt):
        train_run(config, FACES, tmp_path / "s", accelerator="cpu", reporter=StopAfter(1))
    (digest,) = json.loads((tmp_path / "s" / "environment.json").read_text())["teachers"]
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    whole = file.read_bytes()
    export_run(teachers[1], file)
    with pytest.raises(FacelexError, match="began with another network under the name that teachers gives"):
        train_run(config, FACES, tmp_path / "s", accelerator="cpu", resume=True)
    file.write_bytes(whole)
    train_run(config, FACES, tmp_path / "s", accelerator="cpu", resume=True)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.001), ("int8", 0.2)])
def test_a_model_file_judges_the_batches_as_its_run_does(
    precision: str, tolerance: float, teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    file = export_run(teachers[1], tmp_path / "teacher.onnx", precision=precision)  # type: ignore[arg-type]
    images = torch.from_numpy(FACES.pixels[:20]).unsqueeze(1) / 255
    by_run, by_file = (
        Teachers([str(name)], FACES.class_names, FACES.pixels, Fabric(accelerator="cpu"))
        for name in (teachers[1], file)
    )
    assert by_file.models[0][1] == 32
    assert not any(module.training for module in by_file.models[0][0].modules())
    expected, found = by_run(images), by_file(images)
    assert float((found - expected).abs().max()) < tolerance * float(expected.std(0).max())


@pytest.mark.parametrize("views", ["batch", "cached", "3"])
def test_missing_teacher_is_refused_before_anything_is_written(views: str, tmp_path: Path) -> None:
    config = tiny_config(STUDENT, "teachers=[missing.onnx]", f"teacher_views={views}")
    with pytest.raises(FacelexError, match=r"missing\.onnx: there is no such file"):
        train_run(config, FACES, tmp_path / "s", accelerator="cpu")
    assert not (tmp_path / "s").exists()


def test_a_file_that_does_not_say_what_it_holds_cannot_judge_batches(teachers: tuple[Path, Path]) -> None:
    start = dataclasses.replace(open_starting_point(str(teachers[0])), image_encoder=None)
    with pytest.raises(FacelexError, match="does not say which face network it holds"):
        start.rebuild(FACES.pixels)


THREE_PHASES = """methods.multimodal=[
    {name: labels, epochs: 1, losses: {cross_entropy: 1}},
    {name: imitate, epochs: 3, losses: {distillation: 1, alignment: 0.5}},
    {name: both, epochs: 1, losses: {cross_entropy: 1, distillation: 1}}]"""
STRONG = "augment={rotation: 40, resize: 0.3, erasing: 1, mixup: 0.3, mix_probability: 0.5}"


def test_views_are_judged_once_and_serve_the_epochs_in_turn(
    teachers: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[DeviceSplit, AugmentConfig]] = []
    train_epoch = PhaseTrainer.train_epoch

    def noted(self: PhaseTrainer, examples: EpochExamples, **rest: Any) -> EpochResult:
        split = examples.split._replace(pixels=examples.split.pixels.clone())
        if split.teacher_probs is not None:
            split = split._replace(teacher_probs=split.teacher_probs.clone())
        shown.append((split, examples.augment))
        return train_epoch(self, examples, **rest)

    monkeypatch.setattr(PhaseTrainer, "train_epoch", noted)
    config = tiny_config(THREE_PHASES, STRONG, naming(teachers), "teacher_views=2")
    train_run(config, FACES, tmp_path / "s", accelerator="cpu")
    (plain, whole), *views = shown
    assert plain.teacher_probs is None
    assert whole == config.augment
    assert torch.equal(plain.pixels.squeeze(1), torch.from_numpy(FACES.pixels[FACES.indices("train")]))
    for split, rest in views:
        assert rest == config.augment.in_two_steps()[1]
        faces = split.pixels.squeeze(1).numpy()
        expected = sum(load_predictor(folder, "cpu")(faces) for folder in teachers)
        assert split.teacher_probs is not None
        np.testing.assert_allclose(split.teacher_probs.numpy(), expected / 2, atol=1e-6)
    first, second, third, fourth = (split.pixels for split, _ in views)
    assert torch.equal(first, third)
    assert torch.equal(second, fourth)
    for one, other in [(first, second), (first, plain.pixels), (second, plain.pixels)]:
        assert float((one.float() - other.float()).abs().flatten(1).mean(1).min()) > 3


def test_answers_about_views_outlive_an_interruption_and_go_when_the_run_is_finished(
    teachers: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def counted(folder: Path, device: str) -> Any:
        answer = load_predictor(folder, device)
        return lambda pixels: asked.append(folder) or answer(pixels)

    monkeypatch.setattr(teachers_module, "load_predictor", counted)
    config = tiny_config(THREE_PHASES, naming(teachers), "teacher_views=3")
    folder = tmp_path / "s"
    for epochs in (1, 2):
        with pytest.raises(KeyboardInterrupt):  # the epoch after those is trained, its checkpoint is missing
            train_run(config, FACES, folder, accelerator="cpu", reporter=StopAfter(epochs), resume=True)
    assert len(asked) == 2 * 3
    assert len(list((folder / TEACHER_ANSWERS).iterdir())) == 3
    train_run(config, FACES, folder, accelerator="cpu", resume=True)
    assert len(asked) == 2 * 3
    assert not (folder / TEACHER_ANSWERS).exists()


def test_kept_answers_are_only_used_for_the_same_question(
    teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    pixels = torch.from_numpy(FACES.pixels[:12]).unsqueeze(1)
    names = [str(folder) for folder in teachers]

    def judged(
        names: Sequence[str] = names, faces: Tensor = pixels, rotation: float = 5, seed: int = 0
    ) -> Tensor:
        views = JudgedViews(
            names, FACES.class_names, faces, AugmentConfig(rotation=rotation), 2, seed=seed, folder=tmp_path,
            writes=True,
        )  # fmt: skip
        views.show(0)
        return views.probs

    first = judged()
    (path,) = tmp_path.iterdir()
    np.save(path, np.full(first.shape, 1 / 7, np.float32))
    assert float(judged().std()) == 0
    for other in (judged(names[:1]), judged(rotation=9), judged(seed=1), judged(faces=pixels.flip(0))):
        assert float(other.std()) > 0
    assert len(list(tmp_path.iterdir())) == 5
    whole = path.read_bytes()
    for damage in (b"", whole[:200], whole.replace(b")", b" ", 1), b"not an array"):
        path.write_bytes(damage)
        assert torch.equal(judged(), first)
    np.save(path, np.zeros((3, 7), np.float32))
    assert torch.equal(judged(), first)


def test_views_of_faces_that_are_not_square_are_square(teachers: tuple[Path, Path], tmp_path: Path) -> None:
    pixels = torch.from_numpy(FACES.pixels[:12, :40]).unsqueeze(1)
    unchanged = AugmentConfig(rotation=0, translation=0, resize=0, reflection=0)
    views = JudgedViews(
        [str(teachers[0])], FACES.class_names, pixels, unchanged, 1, seed=0, folder=tmp_path, writes=False
    )
    said: list[str] = []
    for epoch in range(3):
        views.show(epoch, said.append)
    assert said == ["asking the teachers about view 1 of 1"]
    stretched = F.interpolate(pixels.float(), (48, 48), mode="bilinear")
    assert float((views.pixels.float() - stretched).abs().max()) <= 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_alternating_reflection_shows_both_sides_of_every_view(count: int, tmp_path: Path) -> None:
    config = tiny_config(
        THREE_PHASES, "teachers=[tiny]", f"teacher_views={count}", "augment.alternate_reflection=true"
    )
    examples = Examples(config, FACES, Fabric(accelerator="cpu"), tmp_path)
    seen = set()
    for epoch in range(2 * count):
        shown = examples.of_epoch(config.phases[1], epoch)
        assert shown.mirrored is not None
        seen.add((shown.split.pixels.numpy().tobytes(), bool(shown.mirrored[0])))
    assert len(seen) == 2 * count


def test_every_change_of_a_picture_is_made_in_one_of_two_steps() -> None:
    off: dict[str, Any] = {
        "rotation": 0.0, "translation": 0.0, "resize": 0.0, "crop": 0.0, "reflection": 0.0, "brightness": 0.0,
        "contrast": 0.0, "erasing": 0.0, "alternate_reflection": False, "mixup": 0.0, "cutmix": 0.0,
    }  # fmt: skip
    on = {name: 0.5 if isinstance(value, float) else True for name, value in off.items()}
    whole = AugmentConfig(**on, erasing_area=(0.1, 0.3), mix_probability=0.7)
    first, second = whole.in_two_steps()
    later = {"reflection", "alternate_reflection", "mixup", "cutmix"}
    for name, value in off.items():
        assert getattr(first, name) == (value if name in later else on[name])
        assert getattr(second, name) == (on[name] if name in later else value)
    assert first.erasing_area == whole.erasing_area
    assert second.mix_probability == whole.mix_probability
    assert {*off, "erasing_area", "mix_probability"} == set(AugmentConfig.model_fields)


def test_teachers_stay_in_evaluation_and_as_they_are(teachers: tuple[Path, Path], tmp_path: Path) -> None:
    config = tiny_config(STUDENT, MIXED, naming(teachers), "teacher_views=batch")
    training = Training(Fabric(accelerator="cpu"), config, FACES, tmp_path / "s", SilentReporter())
    assert training.examples.plain.teacher_probs is None
    training.run(None)
    assert training.examples.teachers is not None
    for (model, _), folder in zip(training.examples.teachers.models, teachers):
        assert not model.training
        saved = load_model(folder)[0].state_dict()
        assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_teacher_of_other_classes_or_unfinished_is_refused_before_anything_is_written(
    teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(FacelexError, match="Name teachers trained on the same classes"):
        Teachers([str(teachers[0])], ("angry", "happy"), FACES.pixels, Fabric(accelerator="cpu"))
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(teachers[0] / "config.yaml", begun)
    config = tiny_config(STUDENT, f"teachers=[{begun}]", "teacher_views=batch")
    with pytest.raises(FacelexError, match="holds no finished run"):
        train_run(config, FACES, tmp_path / "s", accelerator="cpu")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            ("augment.mixup=0.2", "methods.multimodal.0.losses.supervised_contrastive=0.1"),
            "supervised_contrastive compares images of one label, which mixed images do not have",
        ),
        (("optimizer.sam_rho=0.05", "precision=16-mixed"), "sam_rho does not go with the gradient scaling"),
        (("optimizer.clip_grad_norm=1", "precision=16-mixed"), "clip_grad_norm does not go with"),
        (("methods.multimodal.1.train=[image_encoder]",), "trains the classifier, which gives the labels"),
        (
            ("methods.multimodal=[{name: m, epochs: 1, losses: {mirror_consistency: 1}}]",),
            "trains the classifier, which gives the labels",
        ),
        (
            (
                "logit_adjustment=1",
                "teachers=[x]",
                "methods.multimodal=[{name: m, epochs: 1, losses: {distillation: 1}}]",
            ),
            "logit_adjustment is for cross_entropy, which no phase",
        ),
        (
            (
                "vote_weight=0.5",
                "teachers=[tiny]",
                "methods.multimodal=[{name: d, epochs: 1, losses: {distillation: 1}}]",
            ),
            "vote_weight is for cross_entropy, which no phase",
        ),
        (("model.temperature=0.001",), "greater than or equal to 0.01"),
        (("augment.alternate_reflection=true", "augment.reflection=0"), "set reflection to 0.5"),
        (("augment.mixup=-1",), "augment.mixup"),
        (("augment.mix_probability=2",), "augment.mix_probability"),
        (("teacher_views=every",), "whole number of views, 1 or more, but got 'every'"),
        (("teacher_views=0",), "whole number of views, 1 or more, but got 0"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: tuple[str, ...], expected: str) -> None:
    with pytest.raises(FacelexError) as caught:
        load_config("sketch", settings)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mixing_that_is_off_goes_with_contrast_between_images() -> None:
    contrast = "methods.multimodal.0.losses.supervised_contrastive=0.1"
    assert not load_config("sketch", [contrast, "augment.mixup=1", "augment.mix_probability=0"]).augment.mixes


def test_config_written_before_these_settings_existed_loads_as_without_them(tmp_path: Path) -> None:
    config = load_config("slim")
    old = config.model_dump(mode="json")
    for section, keys in {
        "augment": ("alternate_reflection", "mixup", "cutmix", "mix_probability"), "optimizer": ("sam_rho",),
    }.items():  # fmt: skip
        for key in keys:
            del old[section][key]
    del old["teacher_views"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    loaded = load_config(tmp_path / "config.yaml")
    assert loaded == config
    assert not loaded.augment.mixes
    assert (loaded.optimizer.sam_rho, loaded.teacher_views) == (None, "cached")


def test_infinite_gradient_of_the_last_step_stops_the_run(tmp_path: Path) -> None:
    config = tiny_config(
        "method=baseline", "methods.baseline.0.epochs=1", "batch_size=4096", "schedule.name=constant",
        "optimizer={name: sgd, lr: 1e30, clip_grad_norm: 1e30}", "ema_decay=null",
    )  # fmt: skip
    with pytest.raises(FacelexError, match="not a number any more"):
        train_run(config, FACES, tmp_path / "r", accelerator="cpu")


def test_images_and_mirror_images_go_through_the_network_together(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu")
    training = Training(fabric, tiny_config("ema_decay=null"), FACES, tmp_path / "r", SilentReporter())
    training.module.eval()  # neither batch statistics nor dropout
    images = torch.rand(6, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, Targets(torch.arange(6)))
    weights = {"cross_entropy": 1.0, "alignment": 0.5}
    plain = forward_backward(fabric, training.module, Objective(weights), batch)
    both = forward_backward(fabric, training.module, Objective(weights | {"mirror_consistency": 2.0}), batch)
    logits, mirrored = (training.model(view).logits for view in (images, images.flip(3)))
    agreement = mirror_consistency(logits, mirrored)
    assert agreement > 0
    torch.testing.assert_close(both["mirror_consistency"], agreement)
    torch.testing.assert_close(both["loss"], plain["loss"] + 2 * agreement)
    for name in ("cross_entropy", "alignment", "accuracy"):
        torch.testing.assert_close(both[name], plain[name])


def test_options_of_the_encoder_reach_the_network_and_its_file(tmp_path: Path) -> None:
    options = "model.encoder_options={width: 0.1, squeeze_excitation: true, blur_pool: true}"
    config = tiny_config("model.image_encoder=slim_s", options, "max_epochs_per_phase=1", "method=baseline")
    folder = train_run(config, FACES, tmp_path / "run", accelerator="cpu").folder
    model, spec = load_model(folder)
    assert spec.encoder_options == {"width": 0.1, "squeeze_excitation": True, "blur_pool": True}
    assert model.image_encoder.num_features == 24
    file = export_run(folder, tmp_path / "model.onnx")  # compares its answers with PyTorch's
    assert file.stat().st_size > 0


def test_an_option_that_the_encoder_does_not_have_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(FacelexError, match="'tiny_cnn' has no option 'widht'"):
        train_run(tiny_config("model.encoder_options.widht=2"), FACES, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()
