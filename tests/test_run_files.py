"""What lies in a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from facelex.evaluation.run_folder import load_run_folder
from facelex.run_files import SPEC, WEIGHTS, has_weights


@pytest.mark.parametrize("missing", [WEIGHTS, SPEC, None])
def test_final_weights_are_there_with_the_description_that_they_need(
    tmp_path: Path, missing: str | None
) -> None:
    (tmp_path / "metrics.csv").write_text("phase,epoch\n")
    for name in {WEIGHTS, SPEC} - {missing}:
        (tmp_path / name).touch()
    assert has_weights(tmp_path) == load_run_folder(tmp_path).finished == (missing is None)
