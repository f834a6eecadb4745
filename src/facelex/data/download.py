"""Fetch FER2013 from Kaggle."""

from __future__ import annotations

from pathlib import Path

from facelex.errors import FacelexError, require

KAGGLE_DATASET = "msambare/fer2013"
"""FER2013 as folders of JPEGs, the copy that most people use."""

_BY_HAND = (
    f"get the Kaggle dataset {KAGGLE_DATASET} with a browser, unpack it and run: facelex data prepare FOLDER"
)


def download_fer2013() -> Path:
    """Fetch FER2013 with kagglehub into its own cache (``KAGGLEHUB_CACHE``) and return the folder.

    Raises:
        MissingExtraError: If kagglehub is not installed.
        FacelexError: If Kaggle cannot be reached or refuses; the message says what to do instead.
    """
    kagglehub = require("kagglehub", "download", "Downloading FER2013")
    try:
        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except Exception as error:  # kagglehub lets errors of its HTTP library through, whichever that is
        raise FacelexError(f"FER2013 could not be fetched: {_reason(error)}; or {_BY_HAND}") from error


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403) or "Unauthenticated" in type(error).__name__:
        return (
            "Kaggle wants you to sign in (put your API token into ~/.kaggle/kaggle.json and accept the "
            "dataset's terms on its page)"
        )
    if status is not None:
        return f"Kaggle answered with HTTP status {status} (try again later)"
    if isinstance(error, OSError):  # requests' exceptions are OSErrors: no route, no name, time out
        return f"Kaggle cannot be reached ({type(error).__name__}; try again with a network connection)"
    return f"kagglehub failed ({type(error).__name__}: {error})"
