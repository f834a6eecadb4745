"""The tools that train and measure, given what they cannot use."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from facelex.data.sketch import sketch_dataset

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        (
            "measure_words",
            "heldout nowhere",
            "nowhere holds no finished run such as synonyms-s0-without-angry.",
        ),
        ("measure_words", "model nowhere", "nowhere holds no finished run"),
        ("train_heldout", "--set modle.dropout=0", "Unknown key 'modle'"),
        ("refit_words", "nowhere -o new", "nowhere holds no finished run"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    tool: str,
    arguments: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    sketch_dataset(70).save(Path("faces.npz"))
    script = TOOLS / f"{tool}.py"
    monkeypatch.setattr(sys, "argv", [str(script), *arguments.split(), "--data", "faces.npz"])
    monkeypatch.syspath_prepend(str(TOOLS))
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name="__main__")
    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert message.startswith(f"{tool}: ")
    assert expected in message
    assert len(message.splitlines()) == 1
