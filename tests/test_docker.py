"""The Dockerfile agrees with the package: extras, files that it copies, what it leaves out.

Whether the images build and run is tried by hand; a test would need Docker and a network.
"""

from __future__ import annotations

import re
import shlex

import pytest

from test_package import PROJECT, ROOT, distributions_of

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


def stages() -> dict[str, str]:
    """Text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def extras(stage: str) -> set[str]:
    (names,) = re.findall(r"\.whl\)\[([\w,]+)\]", stages()[stage])
    return set(names.split(","))


def test_images_install_extras_that_exist() -> None:
    assert extras("train") | extras("recognize") <= set(PROJECT["optional-dependencies"])
    assert "train" in extras("train")
    assert "serve" in extras("recognize")


def test_the_image_that_is_built_by_default_recognises_without_pytorch() -> None:
    assert list(stages())[-1] == "recognize"
    brought = set().union(*map(distributions_of, extras("recognize")))
    assert brought & {"torch", "torchvision", "lightning-fabric", "timm"} == set()


def test_what_is_copied_is_there_and_sent_to_the_build() -> None:
    sent = {line[1:] for line in IGNORED if line.startswith("!")}
    copied = {
        source
        for arguments in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in shlex.split(arguments)[:-1]
    }
    assert IGNORED[1] == "*"  # data, runs and pictures that lie in a checkout stay outside
    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_the_wheel_is_built_of_all_that_its_description_names() -> None:
    copied = stages()["wheel"]
    assert all(name in copied for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]))


@pytest.mark.parametrize("name", ["train", "recognize"])
def test_an_image_runs_as_a_user_with_a_home_that_holds_no_leftovers(name: str) -> None:
    stage = stages()[name]
    assert stage.rstrip().endswith("USER facelex")
    installed, home = stage.index("pip install"), stage.index("HOME=/tmp")
    assert installed < home  # pip's cache would stay there, and be root's
    assert "HOME" not in stages()["base"]


def test_the_pages_say_which_python_the_images_hold() -> None:
    (version,) = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.M)
    assert f"Python {version}" in (ROOT / "docs" / "docker.md").read_text()
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
