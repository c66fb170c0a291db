"""What is measured: a periodic cell and a batch of molecules, the same arrays for every model.

Positions in angstrom. Everything is drawn with a fixed seed, so that two runs measure the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CUTOFF = 5.0
SEED = 20240
N_MOLECULES = 32


@dataclass(frozen=True)
class Structure:
    """One structure: positions (n, 3), atomic numbers (n,), lattice vectors (3, 3) or None."""

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray | None = None


@dataclass(frozen=True)
class Workload:
    """A batch of structures, of one domain, and where they come from."""

    name: str
    domain: str
    summary: str
    structures: tuple[Structure, ...]

    @property
    def n_atoms(self) -> int:
        return sum(len(s.numbers) for s in self.structures)

    @property
    def elements(self) -> list[int]:
        return sorted({int(z) for s in self.structures for z in s.numbers})


def silicon(times: int = 2) -> Workload:
    """Diamond silicon, 64 atoms or 8 times^3, coordinates displaced by N(0, 0.05 angstrom)."""
    base = [(0, 0, 0), (0, 2, 2), (2, 0, 2), (2, 2, 0), (1, 1, 1), (1, 3, 3), (3, 1, 3), (3, 3, 1)]
    a = 5.431
    corners = np.array([(i, j, k) for i, j, k in np.ndindex(times, times, times)], dtype=float)
    positions = (corners[:, None] + np.array(base) / 4).reshape(-1, 3) * a
    positions += np.random.default_rng(SEED).normal(0.0, 0.05, positions.shape)
    n = len(positions)
    structure = Structure(positions, np.full(n, 14), np.eye(3) * times * a)
    name = "silicon" if times == 2 else f"silicon-{n}"
    return Workload(name, "crystals", f"{n}-atom rattled silicon cell", (structure,))


def molecules() -> Workload:
    """32 molecules of the bundled dataset, evenly spaced in its test split.

    Raises:
        SfmError: the dataset is not there; another one would make another measurement.
    """
    import sfm

    data = sfm.dataset("molecules/molecules-xtb", split="test")
    # evenly spaced, so that conformers of one molecule do not fill the batch
    rows = np.linspace(0, len(data) - 1, N_MOLECULES).astype(int)
    samples = [data[int(row)] for row in rows]
    structures = tuple(Structure(np.array(s.positions), np.array(s.types)) for s in samples)
    summary = f"{N_MOLECULES} small molecules (bundled dataset molecules-xtb, test split)"
    return Workload("molecules", "molecules", summary, structures)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "silicon": silicon,
    "silicon-216": lambda: silicon(3),
    "molecules": molecules,
}


def save(path: Path, workload: Workload) -> None:
    """Write the arrays for the processes that measure."""
    arrays = {}
    for i, s in enumerate(workload.structures):
        arrays[f"positions.{i}"], arrays[f"numbers.{i}"] = s.positions, s.numbers
        if s.cell is not None:
            arrays[f"cell.{i}"] = s.cell
    text = np.array([workload.name, workload.domain, workload.summary])
    np.savez(path, n=len(workload.structures), text=text, **arrays)


def load(path: Path) -> Workload:
    """Read what `save` wrote."""
    with np.load(path) as data:
        structures = tuple(
            Structure(
                data[f"positions.{i}"],
                data[f"numbers.{i}"],
                data.get(f"cell.{i}"),
            )
            for i in range(int(data["n"]))
        )
        name, domain, summary = (str(x) for x in data["text"])
    return Workload(name, domain, summary, structures)
