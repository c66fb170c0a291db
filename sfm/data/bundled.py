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


def recipes_dir() -> Path:
    """Folder of the bundled recipes."""
    return _find("recipes")
