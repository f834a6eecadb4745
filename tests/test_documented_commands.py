"""Every ``facelex`` command in the README and the documents is one that the command line understands."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from facelex.cli.main import create_app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def documented_commands() -> list[tuple[str, str]]:
    """``(document, command)`` of each line of a console or bash block that starts with ``facelex``."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", document.read_text(), re.M | re.S):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                command = re.match(r"(?:\$ )?(facelex .+)", line)
                if command:
                    found.append((document.name, command.group(1)))
    return found


@pytest.mark.parametrize(("document", "command"), documented_commands())
def test_documented_command_is_understood(document: str, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    for end in (">", "|", "&&", "2>"):
        words = words[: words.index(end)] if end in words else words
    try:
        create_app().parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        pytest.fail(f"{document}: {command}\n{error}")


def test_the_readme_shows_commands() -> None:
    assert len([command for name, command in documented_commands() if name == "README.md"]) > 5


@pytest.mark.parametrize("document", [path.relative_to(ROOT).as_posix() for path in DOCUMENTS])
def test_links_to_files_lead_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", (ROOT / document).read_text())
    assert [link for link in links if not Path(os.path.normpath(here / link)).exists()] == []
