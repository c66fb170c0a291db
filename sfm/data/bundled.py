"""Where the data and the models that come with sfm lie: in the clone, or inside the wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _find(name: str) -> Path:
    inside = _PACKAGE / "_bundled" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def datasets_dir() -> Path:
    """Folder of the bundled datasets."""
    return _find("datasets")


def models_dir() -> Path:
    """Folder of the bundled models."""
    return _find("model_cards")


def examples_dir() -> Path:
    """Folder of small input files: the demo's and the README's."""
    inside = _PACKAGE / "_bundled" / "examples"
    return inside if inside.is_dir() else _PACKAGE.parent / "docs" / "examples"


EXAMPLES = {
    "ethanol.xyz": "a molecule",
    "methanol.xyz": "a molecule",
    "water.xyz": "a molecule",
    "nacl.cif": "a crystal: rock salt",
    "argon.cif": "a crystal: solid argon",
    "solvents.smi": "SMILES of solvents",
    "paracetamol.extxyz": "conformers with energy and forces, GFN2-xTB: for fine-tuning",
    "turbulence.h5": "a filtered turbulent flow, nine snapshots",
    "hare-lynx.csv": "pelts of hare and lynx, 1900 to 1920: for fitting Lotka-Volterra",
}


def example(name: str) -> Path:
    """A small input file that comes with sfm; see `EXAMPLES`.

    Raises:
        InputError: there is none of this name.
    """
    from sfm.errors import InputError, did_you_mean

    path = examples_dir() / name
    if name not in EXAMPLES or not path.is_file():
        raise InputError(
            f"no example '{name}' (there are {', '.join(EXAMPLES)}).{did_you_mean(name, EXAMPLES)}"
        )
    return path


def recipes_dir() -> Path:
    """Folder of the bundled recipes."""
    return _find("recipes")
