"""Where the ablations of a clone are, and how they are loaded."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from trio440.errors import InvalidParameter
from trio440.sim.ablating import Ablation, by_name

__all__ = ["find_ablations", "load_ablations"]

FOLDER: Final = "tests/ablations"


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
    root = str(folder.parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    found: dict[int, Ablation] = {}
    for path in sorted(folder.glob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        found |= {id(ablation): ablation for ablation in getattr(module, "ABLATIONS", ())}
    try:
        return by_name(found.values())
    except InvalidParameter as error:
        raise click.ClickException(str(error)) from None
