"""The package as people install it: what an import pulls in, what the wheel holds, what files may name."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import facelex
from facelex import Recognizer
from facelex.errors import FacelexError

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE_MODULES = {"numpy", "onnxruntime", "PIL", "cyclopts", "rich"}
FRAMEWORK_ROOMS = ("models", "losses", "training", "serve")
"""Rooms that as a whole need an extra."""
BELOW = {
    "vocabulary": set(),
    "recognize": {"vocabulary"},
    "serve": {"recognize"},
    "data": {"recognize", "vocabulary"},
    "models": {"data", "recognize", "vocabulary"},
    "losses": {"models"},
    "evaluation": {"models", "data", "recognize", "vocabulary"},
    "training": {"evaluation", "losses", "models", "data", "recognize", "vocabulary"},
}
"""The rooms that each room may import from."""


def run_python(code: str) -> str:
    """Run ``code`` in a fresh interpreter that finds facelex in this checkout and return what it prints."""
    finished = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def module_names(*without: str) -> list[str]:
    """Dotted names of every module of facelex outside the rooms ``without``."""
    names = []
    for path in sorted((SOURCE / "facelex").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[1] not in without and parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def distribution(requirement: str) -> str:
    """Return ``PyYAML`` of ``PyYAML>=6`` in the spelling that compares: lower case, with dashes."""
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def distributions_of(extra: str) -> set[str]:
    """Names that an extra lists, those of the extras it includes among them."""
    names: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        included = re.match(r"facelex\[(.+)\]", requirement)
        if included:
            names.update(*(distributions_of(name) for name in included.group(1).split(",")))
        else:
            names.add(distribution(requirement))
    return names


def providers(module: str) -> set[str]:
    """Installed distributions that bring the top-level ``module``."""
    return {distribution(name) for name in installed_packages().get(module, [])}


@cache
def installed_packages() -> Mapping[str, list[str]]:
    """Top-level modules and the distributions that bring them; reading all metadata takes a second."""
    return packages_distributions()


def parsed_sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((SOURCE / "facelex").rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imported_modules(tree: ast.Module) -> set[str]:
    """Top-level names that ``tree`` imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"facelex"}


def required_extras() -> list[tuple[str, str]]:
    """``(module, extra)`` of every ``require("module", "extra", ...)`` in the sources."""
    pairs = set()
    for _, tree in parsed_sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                module, extra = (getattr(argument, "value", None) for argument in node.args[:2])
                if isinstance(module, str) and isinstance(extra, str):
                    pairs.add((module, extra))
    return sorted(pairs)


def committed_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_importing_facelex_loads_nothing_but_facelex_and_the_standard_library() -> None:
    code = (
        "before = set(sys.modules); import facelex\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)), len(set(sys.modules) - before))"
    )
    names, _, count = run_python(code).strip().rpartition(" ")
    assert names == "['facelex']"
    assert int(count) < 40


def test_nothing_is_written_or_collected_for_anyone_else(tmp_path: Path) -> None:
    """ONNX Runtime's own builds keep events of their use for Microsoft unless they are told not to."""
    code = (
        "import numpy as np, time; from facelex import Recognizer\n"
        "Recognizer('tiny').predict(np.zeros((200, 200, 3), np.uint8)); time.sleep(0.5)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []


def test_public_names_are_listed_and_loaded_when_used() -> None:
    assert set(facelex.__all__) <= set(dir(facelex))
    assert all(hasattr(facelex, name) for name in facelex.__all__)
    assert facelex.FacelexError is FacelexError


@pytest.mark.slow
def test_a_type_checker_finds_a_misspelt_name_and_accepts_an_own_detector(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    program.write_text(
        "import facelex\n"
        "class Mine:\n"
        "    def detect(self, picture: object) -> list: return []\n"
        "facelex.Recognizer(detector=Mine())\n"
        "facelex.FacelexError\n"
        "facelex.Recogniser\n"
    )
    found, _, _ = api.run(
        [str(program), "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache")]
    )
    assert [line.partition(" error: ")[2] for line in found.splitlines() if "program.py" in line] == [
        'Module has no attribute "Recogniser"; maybe "Recognizer"?  [attr-defined]'
    ]


def test_everything_but_training_and_the_server_imports_with_the_core_alone() -> None:
    names = module_names(*FRAMEWORK_ROOMS)
    assert {"facelex.recognize.recognizer", "facelex.evaluation.metrics", "facelex.data.dataset"} <= set(
        names
    )
    code = f"""
import importlib, json, traceback
core = {sorted(CORE_MODULES)!r}
optional = {sorted(optional_modules())!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in optional:
            raise ModuleNotFoundError(f'No module named {{name!r}} (left out by the test)')
sys.meta_path.insert(0, Absent())
faults = {{}}
for name in {names!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        faults[name] = str(error)
print(json.dumps(faults))
"""
    assert json.loads(run_python(code)) == {}


def optional_modules() -> set[str]:
    """Top-level modules that only extras bring and that some file of ours imports, torch first of all."""
    named = set().union(*(imported_modules(tree) for _, tree in parsed_sources()))
    named |= {module.partition(".")[0] for module, _ in required_extras()}
    assert {"torch", "lightning_fabric"} <= named
    return (named | {"scipy", "sklearn", "tensorboard", "wandb"}) - CORE_MODULES


def test_imports_of_the_rooms_point_one_way() -> None:
    upward, seen = [], set()
    for path, tree in parsed_sources():
        room = path.relative_to(SOURCE / "facelex").parts[0]
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported = {name.split(".")[1] for name in modules if name.startswith("facelex.")} & BELOW.keys()
        seen |= imported
        if room in BELOW and not imported <= BELOW[room] | {room}:
            upward.append(f"{path.name}: {', '.join(sorted(imported - BELOW[room] - {room}))}")
    assert not upward
    assert seen == BELOW.keys()


def test_every_imported_package_is_a_declared_dependency() -> None:
    declared = {distribution(requirement) for requirement in PROJECT["dependencies"]}
    declared.update(
        *(distributions_of(extra) for extra in PROJECT["optional-dependencies"] if extra != "dev")
    )
    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path, tree in parsed_sources()
        for module in imported_modules(tree)
        if providers(module) and not providers(module) & declared
        if module != "lightning"  # taken in place of lightning_fabric where only it is installed
    }
    assert undeclared == set()


@pytest.mark.parametrize(("module", "extra"), required_extras())
def test_the_extra_an_error_names_brings_the_module(module: str, extra: str) -> None:
    assert extra in PROJECT["optional-dependencies"], f"no extra {extra!r} in pyproject.toml"
    brought_by = providers(module.partition(".")[0])
    if not brought_by:
        pytest.skip(f"{module} is not installed")
    assert brought_by & distributions_of(extra)


def test_every_extra_is_described() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [
        name for name in PROJECT["optional-dependencies"] if name != "dev" and f"`{name}`" not in page
    ] == []


def test_extras_named_in_texts_exist() -> None:
    texts = [path for path in committed_files() if path.suffix in (".py", ".md", ".toml")]
    groups = [group for path in texts for group in re.findall(r"facelex\[([a-z, ]+)\]", path.read_text())]
    named = {name.strip() for group in groups for name in group.split(",")}
    assert "train" in named
    assert named <= set(PROJECT["optional-dependencies"])


def test_extra_all_holds_every_extra_but_dev() -> None:
    expected = set().union(
        *(distributions_of(extra) for extra in PROJECT["optional-dependencies"] if extra != "dev")
    )
    assert distributions_of("all") == expected


def test_every_dependency_is_pinned() -> None:
    pinned = {distribution(line) for line in (ROOT / "constraints" / "pinned.txt").read_text().splitlines()
              if re.match(r"\w", line)}  # fmt: skip
    needed = {distribution(requirement) for requirement in PROJECT["dependencies"]}
    needed.update(*(distributions_of(extra) for extra in PROJECT["optional-dependencies"]))
    assert needed - pinned == set()


def test_no_pre_release_is_pinned() -> None:
    pins = (ROOT / "constraints" / "pinned.txt").read_text()
    assert re.findall(r"^\S+==[\d.]+(?:a|b|rc|\.dev)\d+.*$", pins, re.M) == []


def test_no_committed_file_names_a_registry_or_a_place_on_someones_machine() -> None:
    hosts = ("pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "download.pytorch" + ".org",
             "pkg.dev", "deb." + "debian" + ".org", "--index" + "-url", "--find" + "-links")  # fmt: skip
    pattern = re.compile("|".join(re.escape(host) for host in hosts) + r"|(?<![\w.~*])/(?:work|root)/\w")
    named = []
    for path in committed_files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights, pictures
        named += [f"{path.relative_to(ROOT)}: {found.group()}" for found in pattern.finditer(text)]
    assert named == []


def test_the_wheel_holds_what_the_first_prediction_needs_and_stays_small(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("facelex-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    assert "facelex/py.typed" in sizes
    assert any(name.endswith("licenses/LICENSE") for name in sizes)
    for path in (SOURCE / "facelex").rglob("*"):
        if path.is_file() and path.suffix in (".onnx", ".npz", ".yaml", ".jpg", ".jinja", ".md", ".ttf"):
            assert path.relative_to(SOURCE).as_posix() in sizes
    assert {Path(name).parts[1] for name in sizes if name.startswith("facelex/")} >= {
        "configs",
        "samples",
        "weights",
    }
    assert not [name for name in sizes if name.startswith(("tests", "tools", "data/"))]
    assert {name: size for name, size in sizes.items() if size > 10_000_000} == {}
    assert wheel.stat().st_size < 20_000_000


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("shipped", "model-card.md"),
        ("small", "model-card-small.md"),
        ("tiny", "model-card-tiny.md"),
        ("ferplus", "model-card-ferplus.md"),
    ],
)
def test_card_inside_a_packaged_model_is_the_one_in_the_documents(name: str, card: str) -> None:
    assert Recognizer(name).info["card"] == (ROOT / "docs" / card).read_text(encoding="utf-8")
