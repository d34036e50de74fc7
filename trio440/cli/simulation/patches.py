"""Where the ablations of a clone are, and how they are loaded."""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Final

import click

from trio440.errors import InvalidParameter
from trio440.sim.ablating import Ablation, by_name

__all__ = ["find_ablations", "load_ablations"]

PACKAGE: Final = "tests.ablations"
FOLDER: Final = PACKAGE.replace(".", "/")


def find_ablations() -> Path:
    """Return the folder of ablations of the clone that the working directory is in.

    Raises:
        ClickException: it is in none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir() and (folder / "trio440").is_dir():
            return folder / FOLDER
    raise click.ClickException(
        f"the ablations are in {FOLDER} of a clone of trio440, and {here} is in none"
    )


def load_ablations(folder: Path) -> dict[str, Ablation]:
    """Return the ablations of all modules in a folder by their names.

    Every module there that has a list ``ABLATIONS`` gives what is in it.

    Raises:
        ClickException: two have one name.
    """
    package = _import_package(folder)
    found: dict[int, Ablation] = {}
    for path in sorted(folder.glob("*.py")):
        module = package
        if path.stem != "__init__":
            module = import_module(f"{PACKAGE}.{path.stem}")
        found |= {id(ablation): ablation for ablation in getattr(module, "ABLATIONS", ())}
    try:
        return by_name(found.values())
    except InvalidParameter as error:
        raise click.ClickException(str(error)) from None


def _import_package(folder: Path) -> ModuleType:
    """Import the package that a folder is, whatever else may go by its name."""
    root = str(folder.parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    import_module(PACKAGE.partition(".")[0])
    spec = PathFinder.find_spec(PACKAGE, [str(folder.parent)])
    if spec is None:
        raise click.ClickException(f"{folder} cannot be imported")
    package = module_from_spec(spec)
    sys.modules[PACKAGE] = package
    if spec.loader is not None:  # without an __init__.py there is nothing to run
        spec.loader.exec_module(package)
    return package
