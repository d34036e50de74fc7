"""What the packages show: exported, present, documented, typed and quick to import."""

import importlib
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_architecture import COMMAND, FACE, FILES_BY_MODULE, MODULES, kind_of

ROOT = Path(__file__).resolve().parents[1]

HEAVY = {"numba", "numpy", "llvmlite", "rich", "click", "multiprocessing", "asyncio"}
"""What no library module loads until it is needed."""

LIBRARY = [module for module in FILES_BY_MODULE if kind_of(module) != COMMAND]


def sort_key(name: str) -> tuple[int, str]:
    """The order of ``__all__``: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def public_members(thing: object) -> Iterator[tuple[str, object]]:
    """The methods and properties that a class itself defines for its users."""
    if not inspect.isclass(thing):
        return
    for name, member in vars(thing).items():
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property)):
            yield name, member


def loaded_by(*modules: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after importing ``modules``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {', '.join(modules)}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    names = [line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", LIBRARY)
def test_a_module_shows_what_is_public_with_words(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    names = list(getattr(module, "__all__", ()))
    assert names == sorted(set(names), key=sort_key)
    assert [name for name in names if not hasattr(module, name)] == []
    check_that_everything_public_is_exported(module)
    check_that_what_is_exported_is_documented(module)


def check_that_everything_public_is_exported(module: ModuleType) -> None:
    shown = set(getattr(module, "__all__", ()))
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }
    assert defined - shown == set()


def check_that_what_is_exported_is_documented(module: ModuleType) -> None:
    bare = []
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if not inspect.getdoc(thing):
            bare.append(name)
        for member_name, member in public_members(thing):
            inherited = inspect.getdoc(getattr(thing, member_name)) or inspect.getdoc(member)
            if not inherited:
                bare.append(f"{name}.{member_name}")
    assert bare == []


@pytest.mark.parametrize("package", [name for name, kind in MODULES.items() if kind == FACE])
def test_a_package_exports_this_projects_own_names_only(package: str) -> None:
    face = importlib.import_module(package)
    owners = {
        name: str(getattr(getattr(face, name), "__module__", "trio440"))
        for name in getattr(face, "__all__", ())
    }
    own = ("trio440", "typing", "types")  # a type alias belongs to the module of its kind
    foreign = {name: owner for name, owner in owners.items() if not owner.startswith(own)}
    assert foreign == {}


def test_importing_the_packages_loads_nothing_heavy() -> None:
    faces = [name for name, kind in MODULES.items() if kind == FACE and name.count(".") < 2]
    assert len(faces) > 5
    assert loaded_by(*faces) & HEAVY == set()


def test_starting_the_command_loads_click_and_nothing_else_heavy() -> None:
    assert loaded_by("trio440.cli") & HEAVY == set()
    assert loaded_by("trio440.cli.root") & HEAVY == {"click"}


def test_the_probe_sees_what_is_heavy() -> None:
    assert "click" in loaded_by("click") & HEAVY


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "trio440" / "py.typed").is_file()


def test_mypy_reads_the_typed_tests() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"] is True
    assert {"trio440", "tests"} <= set(settings["files"])
    assert list((ROOT / "tests" / "typing").glob("*.py"))
