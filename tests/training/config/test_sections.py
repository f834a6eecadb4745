"""The sections of a configuration: what follows from their values, and that each is described."""

from __future__ import annotations

import pytest

from facelex.errors import FacelexError
from facelex.training.config import AugmentConfig, LossConfig, PhaseConfig, RunConfig, Section, load_config
from facelex.word_controls import KINDS


def test_image_size_follows_the_fraction_of_the_phase() -> None:
    sizes = "methods.multimodal.0={name: a, epochs: 8, losses: {alignment: 1}, image_sizes: %s}"
    phase = load_config("sketch", [sizes % "{0: 24, 0.375: 32, 0.75: 40, 0.875: 48}"]).phases[0]
    assert [phase.image_size(epoch, 48) for epoch in range(8)] == [24, 24, 24, 32, 32, 32, 40, 48]
    assert load_config("sketch").phases[0].image_size(0, 48) == 48


def test_max_epochs_per_phase_cuts_every_phase() -> None:
    config = load_config("paper", ["max_epochs_per_phase=2"])
    assert [phase.epochs for phase in config.phases] == [2, 2]


def test_contrast_between_faces_alone_needs_a_projection_but_no_words() -> None:
    phases = (
        "[{name: a, epochs: 1, losses: {supervised_contrastive: 1}},"
        " {name: b, epochs: 1, losses: {cross_entropy: 1}}]"
    )
    config = load_config("sketch", [f"methods.multimodal={phases}"])
    assert (config.has_words, config.has_projection) == (False, True)
    assert config.phases[0].learning == ("image_encoder", "image_projection")


def test_plateau_spans_no_phases_and_where_there_is_one_phase_both_spans_are_the_same() -> None:
    plateau, paper = "schedule.name=plateau", load_config("paper", ["schedule.name=plateau"])
    assert (paper.schedule.span, len(paper.phases)) == ("phase", 2)
    with pytest.raises(FacelexError, match=r"'multimodal' has 2; set schedule\.span=phase with it"):
        load_config("quick", [plateau])
    assert load_config("quick", [plateau, "schedule.span=phase"]).schedule.name == "plateau"
    assert load_config("quick", [plateau, "method=baseline"]).schedule.span == "run"


def test_every_field_has_a_sentence() -> None:
    def check(section: type) -> None:
        for name, field in section.model_fields.items():  # type: ignore[attr-defined]
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation)
            elif name not in ("model",):
                assert field.description, f"{section.__name__}.{name}"

    for section in (RunConfig, PhaseConfig, LossConfig):
        check(section)
    assert AugmentConfig.model_fields["rotation"].description


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_may_stand_classes_for_by_every_kind_of_word_vectors(kind: str) -> None:
    assert load_config("paper", [f"model.text_encoder={kind}"]).model.text_encoder == kind
