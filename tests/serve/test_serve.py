"""The HTTP server: its answers are the recogniser's, its limits hold, and nothing of a picture is kept."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from facelex.cli.main import run
from facelex.errors import FacelexError
from facelex.recognize.recognizer import Recognizer
from facelex.serve import app as server
from facelex.serve import create_app
from facelex.serve.schema import ModelInfo, PictureFaces, UnreadablePicture

PHOTO = files("facelex") / "samples" / "astronaut.jpg"
Post = Callable[..., Any]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("tiny", threads=1)


@pytest.fixture(scope="module")
def photo() -> bytes:
    return PHOTO.read_bytes()


@pytest.fixture(scope="module")
def client(recognizer: Recognizer) -> Iterator[TestClient]:
    with client_of(create_app(recognizer, max_bytes=4_000_000)) as opened:
        yield opened


def client_of(app: Any, **options: Any) -> TestClient:
    return TestClient(app, base_url="http://localhost:8000", **options)


def as_file(data: bytes, name: str = "photo.jpg") -> tuple[str, tuple[str, bytes]]:
    return "images", (name, data)


def noise(side: int, kind: str = "PNG") -> bytes:
    """An encoded picture that compresses badly: about three bytes a pixel as PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def test_a_form_is_answered_as_the_recogniser_does(
    client: TestClient, recognizer: Recognizer, photo: bytes
) -> None:
    answer = client.post(
        "/api/predict",
        files=[as_file(photo, "a.jpg"), as_file(b"no picture", "b.jpg"), as_file(photo, "c.jpg")],
        data={"words": "bored, barely hidden anger"},
    )
    assert answer.status_code == 200
    first, broken, third = answer.json()
    expected = recognizer.predict(photo, words=["bored", "barely hidden anger"])
    assert first == {
        "source": "a.jpg", "width": 512, "height": 512, "faces": [face.to_dict() for face in expected],
    }  # fmt: skip
    assert len(first["faces"]) == 1
    assert list(first["faces"][0]["words"]) == ["bored", "barely hidden anger"]
    assert broken["source"] == "b.jpg"
    assert "Convert it to JPEG" in broken["error"]
    assert third == first | {"source": "c.jpg"}


def test_a_body_that_is_a_picture_is_answered_with_options_from_the_address(
    client: TestClient, recognizer: Recognizer, photo: bytes
) -> None:
    answer = client.post(
        "/api/predict", content=photo, params={"detect": "false", "words": "proud", "embedding": "true"}
    )
    (result,) = answer.json()
    (face,) = recognizer.predict(photo, detect=False, words="proud")
    assert result["faces"] == [face.to_dict(embedding=True)]
    assert result["faces"][0]["box"] == [0, 0, 512, 512]


def test_fields_of_the_form_go_before_the_address(client: TestClient, photo: bytes) -> None:
    answer = client.post(
        "/api/predict", files=[as_file(photo)], data={"words": "proud"}, params={"words": "bored"}
    )
    assert list(answer.json()[0]["faces"][0]["words"]) == ["proud"]


def test_answers_have_the_shape_that_the_description_gives(client: TestClient, photo: bytes) -> None:
    answer = client.post("/api/predict", files=[as_file(photo), as_file(b"nothing")])
    shape = TypeAdapter(list[PictureFaces | UnreadablePicture])
    read = shape.validate_python(answer.json())
    assert [type(result) for result in read] == [PictureFaces, UnreadablePicture]
    described = client.get("/api/openapi.json").json()["paths"]
    assert set(described) == {"/api/predict", "/api/annotate", "/api/model", "/health"}
    body = described["/api/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["properties"]) == {"images", "words", "detect", "embedding"}
    ModelInfo.model_validate(client.get("/api/model").json())


def test_the_model_is_described(client: TestClient, recognizer: Recognizer) -> None:
    described = client.get("/api/model").json()
    assert described["classes"] == list(recognizer.classes)
    assert described["words"] is True
    assert described["card"] == recognizer.info["card"]
    assert described["max_bytes"] == 4_000_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"words": "xqzzy"}, "xqzzy"),
        (
            {"words": ", ".join(f"proud{'er' * n}" for n in range(101))},
            "at most 100 words and phrases, but got 101",
        ),
        ({"words": "proud" * 4000}, "16KB"),
        ({"detect": "perhaps"}, "true or false, but got 'perhaps'"),
        ({"detect": ["true", "false"]}, "detect once"),
        ({"wrds": "proud"}, "Did you mean 'words'?"),
        ({"images": "iVBORw0KGgo="}, "Send each picture as a file of the form"),
    ],
)
def test_a_wrong_option_is_explained(
    options: dict[str, Any], said: str, client: TestClient, photo: bytes
) -> None:
    answer = client.post("/api/predict", files=[as_file(photo)], data=options)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "request_of",
    [
        lambda post: post(content=b""),
        lambda post: post(data={"words": "proud"}),
        lambda post: post(files=[("words", (None, "proud"))]),
        lambda post: post(content=b"--x", headers={"content-type": "multipart/form-data"}),
        lambda post: post(
            content=b"no form at all", headers={"content-type": "multipart/form-data; boundary=x"}
        ),
        lambda post: post(
            content=b"--x--", headers={"content-type": "multipart/form-data; boundary=x; charset=undefined"}
        ),
    ],
)
def test_a_request_without_a_picture_is_explained(
    request_of: Callable[[Post], Any], client: TestClient
) -> None:
    answer = request_of(lambda **sent: client.post("/api/predict", **sent))
    assert answer.status_code in (400, 422)
    answer = answer.json()
    message = answer["error"] if isinstance(answer, dict) else answer[0]["error"]
    assert re.match(r"(Expected a picture|Could not read the form)", message)


def test_where_no_picture_can_be_read_the_status_says_so(client: TestClient) -> None:
    answer = client.post("/api/predict", files=[as_file(b"a", "a.jpg"), as_file(b"b", "b.jpg")])
    assert answer.status_code == 422
    assert [result["source"] for result in answer.json()] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_request_that_is_too_large_is_refused(announced: bool, client: TestClient) -> None:
    body = bytes(4_000_001)
    answer = client.post("/api/predict", content=body if announced else iter([body[:3_000_000], body]))
    assert answer.status_code == 413
    assert "at most 4 MB" in answer.json()["error"]


def test_no_picture_touches_the_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("A picture was written to the disk.")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    picture = noise(900)
    assert len(picture) > 2_000_000  # Starlette would write what is larger than one megabyte
    answer = client.post("/api/predict", files=[as_file(picture)])
    assert answer.status_code == 200
    assert answer.json()[0]["width"] == 900


def test_a_picture_is_annotated_in_its_own_format(client: TestClient, photo: bytes) -> None:
    drawn = client.post("/api/annotate", files=[as_file(photo)])
    assert drawn.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(drawn.content)).height == 512
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(stream, "PNG")
    drawn = client.post("/api/annotate", content=stream.getvalue())
    assert drawn.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(drawn.content)).format == "PNG"


def test_redaction_takes_the_face_away(client: TestClient, recognizer: Recognizer, photo: bytes) -> None:
    x, y, width, height = recognizer.predict(photo)[0].box
    middle = (int(x + width / 4), int(y + height / 4), int(x + width * 3 / 4), int(y + height * 3 / 4))

    def detail(options: dict[str, str]) -> float:
        drawn = client.post("/api/annotate", files=[as_file(photo)], data=options).content
        face = np.asarray(Image.open(io.BytesIO(drawn)).convert("L").crop(middle), float)
        return float(np.abs(np.diff(face, axis=0)).mean())

    assert detail({"redact": "blur"}) < 0.5 * detail({})


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"data": {"redact": "smear"}}, "Unknown redaction style 'smear'"),
        ({"more": True}, "Expected one picture, but got 2"),
    ],
)
def test_what_cannot_be_annotated_is_explained(
    sent: dict[str, Any], said: str, client: TestClient, photo: bytes
) -> None:
    pictures = [as_file(photo)] * (2 if sent.pop("more", False) else 1)
    answer = client.post("/api/annotate", files=pictures, **sent)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert client.post("/api/annotate", content=b"nothing").status_code == 422


def test_requests_at_once_get_their_own_answers(client: TestClient, photo: bytes) -> None:
    whole = {"detect": "false"}
    with ThreadPoolExecutor(4) as pool:
        options = [{}, whole] * 4
        asked = [pool.submit(client.post, "/api/predict", content=photo, params=option) for option in options]
        boxes = [future.result().json()[0]["faces"][0]["box"] for future in asked]
    assert boxes[0] != boxes[1]
    assert boxes == boxes[:2] * 4


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    parts = [page.text]
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        if name != "data:,":
            part = client.get(f"/{name}")
            assert part.status_code == 200
            parts.append(part.text)
    assert len(parts) == 4  # itself, style, script, description
    for text in parts[:3]:
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "style=" not in page.text  # which the policy would ignore
    assert client.get("/health").headers["cache-control"] == "no-store"


def test_words_given_several_times_are_one_list(client: TestClient, photo: bytes) -> None:
    answer = client.post("/api/predict", files=[as_file(photo)], data={"words": ["bored", "proud"]})
    assert list(answer.json()[0]["faces"][0]["words"]) == ["bored", "proud"]
    answer = client.post("/api/predict?words=bored&words=proud&detect=", content=photo)
    assert list(answer.json()[0]["faces"][0]["words"]) == ["bored", "proud"]


def test_decoded_pictures_do_not_wait_for_a_turn(
    recognizer: Recognizer, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, most = 0, 0
    predict, draw = Recognizer.predict_many, server._draw

    def count(*args: Any, **options: Any) -> Any:
        nonlocal held, most
        held += 1
        most = max(most, held)
        return predict(*args, **options)

    def release(*args: Any) -> bytes:
        nonlocal held
        held -= 1
        return draw(*args)

    monkeypatch.setattr(Recognizer, "predict_many", count)
    monkeypatch.setattr(server, "_draw", release)
    monkeypatch.setattr(server, "default_threads", lambda: 1)
    with client_of(create_app(recognizer)) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/api/annotate", content=photo), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert (held, most) == (0, 1)


def test_more_requests_at_once_than_allowed_are_refused_before_they_are_read(
    recognizer: Recognizer, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = Event(), Event()
    predict = Recognizer.predict_many

    def wait(*args: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return predict(*args, **options)

    monkeypatch.setattr(Recognizer, "predict_many", wait)
    page = "https://page.example"
    app = create_app(recognizer, max_requests=1, allow_origins=[page])
    with client_of(app) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/api/predict", content=photo)
        assert begun.wait(30)
        refused = client.post("/api/predict", content=photo, headers={"Origin": page})
        assert refused.headers["access-control-allow-origin"] == page  # or it could not read why
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "the limit is 1." in refused.json()["error"]
        assert client.get("/health").status_code == client.get("/").status_code == 200
        go_on.set()
        assert first.result().status_code == 200
        assert client.post("/api/predict", content=b"no picture").status_code == 422
        assert client.post("/api/predict", content=photo).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "host", "answered"),
    [
        (None, "localhost:8000", True),
        (None, "127.0.0.1", True),
        (None, "[::1]:8000", True),
        (None, "rebound.example:8000", False),
        (["*"], "rebound.example:8000", True),
        (["faces.example.org"], "FACES.example.org", True),
        (["faces.example.org"], "localhost", False),
        (["*.example.org"], "faces.example.org", True),
        (["*.example.org"], "example.org", False),
        (["::1"], "[::1]:8000", True),
        ("*.example.org", "faces.example.org", True),
        ("*.example.org", "evil.com", False),
    ],
)
def test_it_answers_only_under_names_that_are_allowed(
    allowed: list[str] | str | None, host: str, answered: bool, recognizer: Recognizer
) -> None:
    app = create_app(recognizer) if allowed is None else create_app(recognizer, allow_hosts=allowed)
    with client_of(app) as client:
        answer = client.get("/health", headers={"host": host})
        assert answer.status_code == (200 if answered else 421)
        assert answered or "--allow-host" in answer.json()["error"]


def test_pages_of_other_origins_may_ask_only_if_allowed(
    recognizer: Recognizer, client: TestClient, photo: bytes
) -> None:
    page = {"origin": "https://example.org", "sec-fetch-site": "cross-site"}
    refused = client.post("/api/predict", content=photo, headers=page)
    assert refused.status_code == 403
    assert "--allow-origin" in refused.json()["error"]
    assert "access-control-allow-origin" not in client.get("/health", headers=page).headers
    with client_of(create_app(recognizer, allow_origins=["https://example.org"])) as opened:
        answer = opened.post("/api/predict", content=photo, headers=page)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        asked = opened.options("/api/predict", headers=page | {"access-control-request-method": "POST"})
        assert asked.headers["access-control-allow-origin"] == "https://example.org"
        stranger = opened.post(
            "/api/predict", content=photo, headers=page | {"origin": "https://example.net"}
        )
        assert stranger.status_code == 403
    with client_of(create_app(recognizer, allow_origins="https://example.org")) as opened:
        assert opened.post("/api/predict", content=photo, headers=page).status_code == 200


@pytest.mark.parametrize(
    "options",
    [
        {"allow_hosts": ["localhost:8000"]},
        {"allow_hosts": ["ex*mple.org"]},
        {"allow_origins": ["https://example.org/"]},
        {"allow_origins": ["example.org"]},
    ],
)
def test_names_that_would_never_match_are_refused(
    options: dict[str, list[str]], recognizer: Recognizer
) -> None:
    with pytest.raises(FacelexError, match=r"Expected (a host's name|an origin)"):
        create_app(recognizer, **options)


def test_a_limit_that_lets_nobody_ask_is_refused(recognizer: Recognizer) -> None:
    with pytest.raises(FacelexError, match="max_requests to be a whole number of at least 1, but got 0"):
        create_app(recognizer, max_requests=0)
    with pytest.raises(FacelexError, match="max_bytes to be a whole number of at least 1, but got '1'"):
        create_app(recognizer, max_bytes="1")  # type: ignore[arg-type]
    with pytest.raises(FacelexError, match=r"to be a Recognizer, but got 'tiny'.*facelex.Recognizer\(\)"):
        create_app("tiny")  # type: ignore[arg-type]


def test_json_is_told_how_pictures_come(client: TestClient) -> None:
    answer = client.post("/api/predict", json={"images": ["data:image/png;base64,iVBORw0KGgo="]})
    assert answer.status_code == 400
    assert "as files of a form (curl -F images=@photo.jpg), but got JSON" in answer.json()["error"]


def test_a_method_that_a_place_does_not_have_is_told_which_it_has(client: TestClient) -> None:
    answer = client.delete("/api/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_every_failure_is_one_sentence_in_json(
    recognizer: Recognizer, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(create_app(recognizer), raise_server_exceptions=False) as client:
        assert client.get("/api/nothing").json() == {"error": "Not Found. See /api/openapi.json."}
        assert client.get("/api/predict").json()["error"].startswith("Method Not Allowed.")
        assert client.head("/").status_code == client.head("/health").status_code == 200
        monkeypatch.setattr(Recognizer, "predict_many", lambda *_, **__: 1 / 0)
        answer = client.post("/api/predict", content=photo)
        assert answer.status_code == 500
        assert "bug of facelex" in answer.json()["error"]
        assert answer.headers["cache-control"] == "no-store"


by_signal = pytest.mark.skipif(sys.platform == "win32", reason="no process is sent Ctrl-C there")


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own, and its port."""
    # which the tests may have been told to ignore
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); import facelex.__main__"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--model", "tiny", "--threads", "1"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    ) as server:
        assert server.stdout is not None
        port = re.search(r"://\S+:(\d+)", server.stdout.readline())
        assert port is not None
        try:
            yield server, int(port[1])
        finally:
            server.kill()


@by_signal
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_command_serves_until_it_is_interrupted(name: str, photo: bytes, tmp_path: Path) -> None:
    with served(tmp_path) as (server, port):
        asked = Request(f"http://127.0.0.1:{port}/api/predict", photo, {"content-type": "image/jpeg"})
        with urlopen(asked) as answer:
            (result,) = json.load(answer)
        assert result["faces"][0]["emotion"] == "happy"
        server.send_signal(getattr(signal, name))
        _, complaints = server.communicate(timeout=60)
    assert server.returncode == 0
    assert complaints == ""
    assert not list(tmp_path.iterdir())


@by_signal
def test_clients_that_go_or_dawdle_neither_fill_the_log_nor_hold_the_end_up(tmp_path: Path) -> None:
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    with served(tmp_path) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(head)
        with socket.create_connection(("127.0.0.1", port)) as dawdling:
            dawdling.sendall(head)
            with urlopen(f"http://localhost:{port}/health") as answer:  # both have been seen by then
                assert answer.status == 200
            server.send_signal(signal.SIGINT)
            _, complaints = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "Traceback" not in complaints


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.1 is the only such address")
def test_an_address_that_only_this_machine_reaches_is_guarded(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "127.0.0.2") as (_, port):
        for name, status in (("127.0.0.2", 200), ("localhost", 200), ("rebound.example", 421)):
            with socket.create_connection(("127.0.0.2", port)) as client:
                client.sendall(f"GET /health HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
                assert client.recv(100).startswith(f"HTTP/1.1 {status}".encode())


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_two_colons_are_all_addresses_of_both_kinds(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "::") as (_, port):
        for host in ("127.0.0.1", "[::1]"):
            with urlopen(f"http://{host}:{port}/health") as answer:
                assert answer.status == 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-megabytes", "0"], "--max-megabytes above 0"),
        (["--max-megabytes", "inf"], "--max-megabytes above 0"),
        (["--host", "a" * 70, "--port", "0"], "Could not listen"),
        (["--allow-host", "localhost:80", "--port", "0"], "without port"),
        (["--port", "70000"], "between 0 and 65535"),
        (["--model", "missing.onnx"], "missing.onnx"),
    ],
)
def test_wrong_options_end_the_command(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--port", str(port), "--model", "tiny"]) == 2
    assert f"port {port}: Address already in use" in capsys.readouterr().err


def test_the_server_needs_no_pytorch() -> None:
    code = "import sys, facelex.serve; print({'torch', 'torchvision'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize("package", ["uvicorn", "fastapi", "python_multipart"])
def test_without_its_packages_the_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("facelex.serve", "facelex.serve.app"):
        monkeypatch.delitem(sys.modules, name)
    assert run(["serve"]) == 2
    assert "facelex[serve]" in capsys.readouterr().err
