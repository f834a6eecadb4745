"""Every ``facelex`` command in the README and the documents is one that the command line understands."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import CycloptsError

from facelex.cli.main import create_app
from facelex.errors import FacelexError

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def documented_commands() -> list[tuple[str, str]]:
    """``(document, command)`` of each line of a console, bash or plain block that runs ``facelex``.

    With ``docker run`` before it what follows the image's name, which its entry point gets.
    """
    found = []
    for document in DOCUMENTS:
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(), re.M | re.S):
            if language not in ("console", "bash", "sh", ""):
                continue
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                command = re.match(r"(?:\$ )?(?:docker run .* )?(facelex(?:-train)? .+)", line)
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


def documented_programs() -> list[tuple[str, str]]:
    """``(program, option)`` of each ``python tools/...`` and ``python benchmarks/...`` in the documents."""
    texts = "\n".join(document.read_text() for document in DOCUMENTS)
    found = re.findall(r"python ((?:tools|benchmarks)/\w+\.py)([^`\n|]*)", re.sub(r"\\\n\s*", " ", texts))
    return sorted({(program, option) for program, rest in found for option in re.findall(r"--[a-z-]+", rest)})


@pytest.mark.parametrize(("program", "option"), documented_programs())
def test_documented_option_of_a_program_is_one_of_its_own(program: str, option: str) -> None:
    assert f'"{option}"' in (ROOT / program).read_text()  # each builds its parser in its own file


def test_the_readme_shows_commands() -> None:
    assert len([command for name, command in documented_commands() if name == "README.md"]) > 5


def documented_settings() -> list[str]:
    """``key=value`` of each ``--set`` in the documents, in blocks and in running text."""
    texts = " ".join(document.read_text() for document in DOCUMENTS)
    quoted = re.findall(r"""--set[ =]((?:'[^']*'|"[^"]*"|[^\s`'"\\])+)""", texts)
    return sorted({shlex.split(setting)[0] for setting in quoted if "=" in setting})


@pytest.mark.parametrize("setting", documented_settings())
def test_documented_setting_is_one_that_a_shipped_configuration_takes(setting: str) -> None:
    config = pytest.importorskip("facelex.training.config")
    refusals = []
    for name in config.list_configs():
        try:
            config.load_config(name, [setting])
            return
        except FacelexError as error:
            refusals.append(str(error))
    pytest.fail("\n".join(refusals))


def test_keys_and_choices_named_in_the_training_document_are_those_of_the_configuration() -> None:
    config = pytest.importorskip("facelex.training.config")
    text = (ROOT / "docs" / "training.md").read_text()
    fields = config.RunConfig.model_fields
    keys = [key.split(".") for key in re.findall(r"`(\w+\.\w+)[`=]", text)]
    keys = [key for key in keys if key[0] in fields and key[1] not in {"safetensors", "json"}]
    assert ["model", "text_encoder"] in keys
    assert [key for key in keys if key[1] not in fields[key[0]].annotation.model_fields] == []
    (paragraph,) = re.findall(r"^`model\.text_encoder` (.+)$", text, re.M)
    choices = get_args(config.ModelConfig.model_fields["text_encoder"].annotation)
    assert set(re.findall(r"`(\w+)`", paragraph)) == set(choices)
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.+)\|$", text.partition("### ")[0], re.M)
    assert {name for name, _ in rows} <= set(config.list_configs())
    for name, methods in rows:
        assert set(re.findall(r"`(\w+)`", methods)) == set(config.load_config(name).methods), name
    assert len(rows) >= 4


@pytest.mark.parametrize("document", [path.relative_to(ROOT).as_posix() for path in DOCUMENTS])
def test_links_to_files_lead_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", (ROOT / document).read_text())
    assert [link for link in links if not Path(os.path.normpath(here / link)).exists()] == []
