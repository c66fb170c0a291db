"""`DatasetSpec`: what a plugin says about a dataset, without opening it. No heavy imports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A dataset that a plugin supplies. Its files are `datasets/<name>/` (see `sfm.data.storage`).

    Attributes:
        name: folder name, and the part's name: `molecules-xtb`.
        domain: domain of its samples.
        summary: one line.
        quantities: label quantities.
        levels: levels of theory of the labels.
        licence: SPDX identifier, or a sentence where the source says no more.
        origin: where structures and labels come from, with versions.
        citation: how to cite it.
        length_unit: unit of positions and cell in the samples.
        encoder: part that reads it where a recipe names none, `fluids/patches`; needed where the
            domain has several.
        held_out: never used in pretraining.
        root: folder that holds `<name>/`, for datasets of outside plugins; None for bundled ones.
    """

    name: str
    domain: str
    summary: str
    quantities: tuple[str, ...]
    levels: tuple[str, ...]
    licence: str
    origin: str
    citation: tuple[str, ...] = field(default_factory=tuple)
    length_unit: str = "angstrom"
    encoder: str | None = None
    held_out: bool = False
    root: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the dataset's files lie."""
        from sfm.data.bundled import datasets_dir

        return (self.root or datasets_dir()) / self.name

    @property
    def built(self) -> bool:
        """Whether its files are there."""
        return any((self.folder / "data").glob("*.parquet"))

    def provenance(self) -> dict[str, Any]:
        """Licence, origin and citation as plain JSON."""
        return {"licence": self.licence, "origin": self.origin, "citation": list(self.citation)}

    def info(self, **more: Any) -> dict[str, Any]:
        """What the files' metadata say (`sfm.data.storage.write_dataset`), and `more`."""
        return {"name": self.name, "domain": self.domain, **self.provenance(), **more}
