from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from facelex.data.download import download_fer2013
from facelex.errors import FacelexError, MissingExtraError


def fake_kagglehub(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[str]:
    asked: list[str] = []
    module = ModuleType("kagglehub")

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    module.dataset_download = dataset_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return asked


def test_folder_of_the_dataset_is_returned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = fake_kagglehub(monkeypatch, tmp_path)
    assert download_fer2013() == tmp_path
    assert asked == ["msambare/fer2013"]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"Downloading FER2013 needs .*facelex\[download\]"):
        download_fer2013()


def refused(status: int) -> Exception:
    error = OSError("refused")
    error.response = type("Response", (), {"status_code": status})()  # type: ignore[attr-defined]
    return error


class UnauthenticatedError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no route"), "cannot be reached .*network connection"),
        (TimeoutError(), "cannot be reached"),
        (refused(403), "sign in .*kaggle.json"),
        (UnauthenticatedError(), "sign in"),
        (refused(503), "HTTP status 503"),
        (KeyError("surprise"), "kagglehub failed"),
    ],
)
def test_failure_is_one_sentence_with_the_way_by_hand(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    fake_kagglehub(monkeypatch, error)
    with pytest.raises(
        FacelexError, match=f"{message}.*with a browser, .*facelex data prepare FOLDER"
    ) as caught:
        download_fer2013()
    assert "\n" not in str(caught.value)
