"""The shapes of requests and answers, for the API's description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field


class FaceRecord(BaseModel):
    """One face and what the model says about it."""

    box: tuple[float, float, float, float] = Field(
        description="x, y, width, height in pixels of the upright picture; may reach past its edges."
    )
    score: float = Field(description="The detector's confidence.")
    emotion: str = Field(description="The most probable class.")
    unsure: bool = Field(
        description="Whether the highest probability lies below `unsure_below`, or the box has fewer pixels "
        "on its longer side than `readable_from`."
    )
    probabilities: dict[str, float] = Field(description="Calibrated probability of each class; sums to 1.")
    words: dict[str, float] = Field(
        description="Of each word asked for, the share of reference faces that it fits less well."
    )
    landmarks: dict[str, tuple[float, float]] | None = Field(
        None,
        description="x, y of right_eye, left_eye, nose, mouth_right and mouth_left in pixels of the upright "
        "picture, where the detector finds them; right and left are the person's own.",
    )
    embedding: list[float] | None = Field(None, description="Features of unit length, if asked for.")


class PictureFaces(BaseModel):
    """A picture that was read."""

    source: str = Field(description="The file's name as it was sent.")
    width: int
    height: int
    faces: list[FaceRecord]


class UnreadablePicture(BaseModel):
    """A picture that could not be read."""

    source: str
    error: str = Field(description="One sentence on why.")


class Failure(BaseModel):
    """A request that could not be answered."""

    error: str = Field(description="What was expected, what came and what to do.")


class ModelInfo(BaseModel):
    """The model that answers."""

    facelex: str = Field(description="Version of the package.")
    name: str | None
    classes: list[str]
    words: bool = Field(description="Whether it can be asked words.")
    unsure_below: float
    readable_from: float
    max_bytes: int = Field(description="Largest request.")
    card: str | None = Field(description="How the model was trained, its scores, data and limits (Markdown).")


def body_of(options: Mapping[str, dict[str, Any]], *, several: bool) -> dict[str, Any]:
    """Describe a request of pictures and options as OpenAPI does.

    Args:
        options: By name the schemas of the form's other fields, which may be query parameters as well.
        several: Whether several pictures may be sent.
    """
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    pictures = {"type": "array", "items": file} if several else file
    form = {"type": "object", "required": ["images"], "properties": {"images": pictures, **options}}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "image/*": {"schema": file}},
        },
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in options.items()
        ],
    }
