"""What a table holds: its columns written out, and the same layout made by a recogniser."""

from __future__ import annotations

import pytest
from tiny_recognition import EMBED

from facelex.errors import FacelexError
from facelex.recognize.layouts import TableLayout
from facelex.recognize.recognizer import Recognizer

PLACE = "face,x,y,width,height,score,emotion,unsure"
POINTS = (
    "right_eye_x,right_eye_y,left_eye_x,left_eye_y,nose_x,nose_y,mouth_right_x,mouth_right_y,"
    "mouth_left_x,mouth_left_y"
)
TRACK = "face,first_s,last_s,frames,video_s,video_frames,video_in_sight,interrupted"


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({}, f"source,{PLACE},calm,class:face,word:proud,error"),
        ({"embed_dim": 2}, f"source,{PLACE},calm,class:face,word:proud,embedding:0,embedding:1,error"),
        ({"landmarks": True}, f"source,{PLACE},calm,class:face,{POINTS},word:proud,error"),
        ({"video": True}, f"source,time_s,frame,{PLACE},calm,class:face,word:proud,error"),
        (
            {"summary": True},
            "source,faces,emotion,unsure,calm,class:face,emotion:calm,emotion:face,word:proud,error",
        ),
        (
            {"summary": True, "video": True},
            f"source,{TRACK},emotion,unsure,calm,class:face,emotion:calm,emotion:face,word:proud,error",
        ),
    ],
)
def test_each_kind_of_table_has_its_columns(options, columns):
    assert ",".join(TableLayout(("calm", "face"), ("proud",), **options).columns) == columns


def test_a_recogniser_knows_the_layout_of_its_results(recognizer, wordless_model):
    layout = recognizer.table_layout("proud,  very bored", embedding=True, video=True)
    assert layout == TableLayout(recognizer.classes, ("proud", "very bored"), EMBED, video=True)
    wordless = Recognizer(wordless_model, detector="none")
    assert wordless.table_layout() == TableLayout(wordless.classes)
    with pytest.raises(FacelexError, match="Features need a model trained with words"):
        wordless.table_layout(embedding=True)
