"""Conformers of real molecules with GFN2-xTB labels: energy, forces, multipoles, charges, valences.

For each molecule: ETKDG and MMFF94 geometry, a few quasi-Newton steps on the GFN2-xTB surface, then
thermal displacements along the normal modes of the force field. Every geometry is labelled with
tblite; where asked for, some as vertical ions and triplets, and the relaxed one with further
properties. A molecule's random numbers come from its SMILES and the seed alone, so that results do
not depend on the number of workers or on the order.

GFN2-xTB: C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.atomic import atomic
from sfm.data.conditions import unpaired
from sfm.errors import InputError, RunError
from sfm_molecules.constants import BOHR, HARTREE
from sfm_molecules.data.properties import (
    AFTERWARDS,
    Properties,
    bond_orders,
    frontier,
    properties,
    quadrupole,
)
from sfm_molecules.geometry.conformers import force_field, geometry
from sfm_molecules.geometry.displacement import displace, force_field_hessian, modes
from sfm_molecules.geometry.embedding import embed

LEVEL = "GFN2-xTB"
FILES = 2  # of kept chunks: raised when they hold more, or other numbers


@dataclass(frozen=True)
class Labels:
    """GFN2-xTB results.

    Attributes:
        energy: eV.
        forces: (n, 3) eV/angstrom.
        dipole: (3,) e*angstrom, about the origin of the positions.
        charges: (n,) e.
        quadrupole: (3, 3) e*angstrom^2, traceless, about that origin; see `properties.quadrupole`.
        valences: (n,) sum of the bond orders (Wiberg's, as I. Mayer writes them for a basis that
            overlaps, Chem. Phys. Lett. 97, 270 (1983)) of an atom with all others.
    """

    energy: float
    forces: np.ndarray
    dipole: np.ndarray
    charges: np.ndarray
    quadrupole: np.ndarray
    valences: np.ndarray


@dataclass(frozen=True)
class Conformer:
    """One labelled geometry.

    `temperature` (kelvin) is that of its displacement, 0 for none; `charge` is in e, `spin` the
    number of unpaired electrons; `properties` stand for the relaxed geometry only.
    """

    smiles: str
    index: int
    temperature: float
    types: np.ndarray
    positions: np.ndarray
    labels: Labels
    charge: int = 0
    spin: int = 0
    properties: Properties | None = None


@dataclass(frozen=True)
class Settings:
    """How conformers are made.

    Attributes:
        conformers: geometries per molecule; the first is the (nearly) relaxed one.
        temperatures: bounds in kelvin of the log-uniform temperature of the others.
        relax_steps: quasi-Newton steps on the GFN2-xTB surface before anything is displaced.
        max_force: geometries with a larger force on an atom (eV/angstrom) are left out.
        seed: goes into every molecule's random numbers.
        excited: share of molecules that have one more conformer, displaced, as a vertical cation,
            anion or triplet, one of the three.
        properties: label the relaxed conformer with `sfm_molecules.data.properties` too.
    """

    conformers: int = 3
    temperatures: tuple[float, float] = (150.0, 1500.0)
    relax_steps: int = 4
    max_force: float = 15.0
    seed: int = 0
    excited: float = 0.0
    properties: bool = False


class Xtb:
    """GFN2-xTB of one molecule at changing positions; the last wave function is the next guess.

    Args:
        types: (n,) atomic numbers.
        charge: total charge in e.
        uhf: number of unpaired electrons.
    """

    def __init__(self, types: np.ndarray, *, charge: float = 0.0, uhf: int = 0) -> None:
        self._types, self._charge, self._uhf = types, charge, uhf
        self._calculator: Any = None
        self._result: Any = None

    def __call__(self, positions: np.ndarray) -> Labels:
        """Labels at `positions` (n, 3) in angstrom.

        Raises:
            RunError: the self-consistent field did not converge.
        """
        from tblite.exceptions import TBLiteRuntimeError
        from tblite.interface import Calculator

        try:
            if self._calculator is None:
                self._calculator = Calculator(
                    LEVEL, self._types, positions / BOHR, self._charge, self._uhf
                )
                self._calculator.set("verbosity", 0)
                self._calculator.set("accuracy", 0.1)
                for name in AFTERWARDS:
                    self._calculator.add(name)
            else:
                self._calculator.update(positions / BOHR)
            self._result = self._calculator.singlepoint(self._result)
        except (TBLiteRuntimeError, RuntimeError) as error:
            self._result = None
            raise RunError(f"GFN2-xTB failed: {error}") from error
        result = self._result
        return Labels(
            energy=float(result.get("energy")) * HARTREE,
            forces=-np.array(result.get("gradient")) * (HARTREE / BOHR),
            dipole=np.array(result.get("dipole")) * BOHR,
            charges=np.array(result.get("charges")),
            quadrupole=quadrupole(result, positions),
            valences=bond_orders(result).sum(1),
        )

    def frontier(self) -> tuple[float, float]:
        """HOMO and LUMO in eV where it was called last."""
        return frontier(self._result)

    def properties(self, positions: Float[np.ndarray, "n 3"]) -> Properties:
        """Further properties at `positions` (n, 3) in angstrom, where it was called last.

        Raises:
            RunError: a field or a solvent did not converge.
        """
        from tblite.exceptions import TBLiteRuntimeError

        try:
            return properties(LEVEL, self._types, positions, self._charge, self._uhf, self._result)
        except (TBLiteRuntimeError, RuntimeError) as error:
            raise RunError(f"GFN2-xTB failed: {error}") from error


STATES = ((1, 1), (-1, 1), (0, 2))  # charge and unpaired electrons of vertical ions and triplets


def label_molecule(smiles: str, settings: Settings) -> list[Conformer]:
    """The labelled conformers of one molecule, ion or radical; those that fail are left out.

    The charge is that of the SMILES, with the fewest unpaired electrons; `settings.excited` are
    for neutral molecules.
    """
    from rdkit import Chem

    digest = hashlib.sha256(f"{settings.seed}|{smiles}".encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    generator = np.random.default_rng(seed)
    try:
        molecule = embed(smiles, seed=seed)
    except InputError:
        return []
    field = force_field(molecule)
    if field is None:
        return []
    field.Initialize()
    types, start = geometry(molecule)
    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()])
    constants, vectors = modes(force_field_hessian(field, start), start)
    charge = Chem.GetFormalCharge(molecule)
    ground = charge, int(unpaired({"charge": charge}, types))
    engine = Xtb(types, charge=charge, uhf=ground[1])
    conformers: list[Conformer] = []
    try:
        centre = _relax(engine, start, constants, vectors, settings.relax_steps)
    except RunError:
        return []
    states = [ground] * settings.conformers
    if settings.excited and generator.random() < settings.excited:
        states.append(STATES[generator.integers(len(STATES))])
    for index, (charge, spin) in enumerate(states):
        low, high = np.log(settings.temperatures)
        temperature = float(np.exp(generator.uniform(low, high))) if index else 0.0
        positions = displace(centre, constants, vectors, temperature, generator)
        positions = (positions - positions.mean(0)).astype(np.float32).astype(np.float64)
        if not _intact(positions, start, bonds):
            continue
        more = None
        try:
            here = engine if (charge, spin) == ground else Xtb(types, charge=charge, uhf=spin)
            labels = here(positions)
            if settings.properties and index == 0:
                more = here.properties(positions)
        except RunError:
            continue
        if np.abs(labels.forces).max() <= settings.max_force:
            conformers.append(
                Conformer(smiles, index, temperature, types, positions, labels, charge, spin, more)
            )
    return conformers


def label_all(
    molecules: Sequence[str],
    settings: Settings,
    folder: Path,
    *,
    workers: int = 1,
    chunk: int = 100,
    executor: Executor | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Conformer]:
    """Labelled conformers of `molecules`, in order; finished chunks are kept in `folder`.

    Molecules that an earlier call with the same settings has done, finished or stopped, are not
    done again. `executor` may be any `concurrent.futures` executor; for one of a Dask cluster
    `Client(address).get_executor()`, with `folder` on a file system that all its machines see.
    """
    folder = folder / hashlib.sha256(repr((FILES, settings)).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    known = _tried(folder)
    missing = [smiles for smiles in molecules if smiles not in known]
    parts = [missing[i : i + chunk] for i in range(0, len(missing), chunk)]
    if parts:
        owned = None
        if executor is None and workers > 1:
            owned = executor = ProcessPoolExecutor(workers, get_context("spawn"))
        mapped: Callable[..., Iterable[None]] = map if executor is None else executor.map
        try:
            jobs = mapped(_label_chunk, parts, [settings] * len(parts), [folder] * len(parts))
            for done, _ in enumerate(jobs, 1):
                report(done, len(parts))
        finally:
            if owned is not None:
                owned.shutdown(cancel_futures=True)
        known = _tried(folder)
    conformers: dict[str, list[Conformer]] = {smiles: [] for smiles in molecules}
    for path in sorted({known[smiles] for smiles in molecules}):
        for row in _load(path):
            if known.get(row.smiles) == path and row.smiles in conformers:
                conformers[row.smiles].append(row)
    for rows in conformers.values():
        yield from rows


def _tried(folder: Path) -> dict[str, Path]:
    """The chunk that holds each molecule that was tried, with or without success."""
    known: dict[str, Path] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            known.update(dict.fromkeys(archive["tried"].tolist(), path))
    return known


def select(candidates: Iterable[tuple[str, int]], count: int, seed: int = 0) -> list[str]:
    """`count` SMILES of (SMILES, number of atoms), spread evenly over the numbers of atoms.

    Within a number of atoms the order is that of a hash. A larger `count` contains a smaller one.
    """
    groups: dict[int, list[str]] = {}
    for smiles, atoms in candidates:
        groups.setdefault(atoms, []).append(smiles)
    ranked = []
    for atoms, group in groups.items():
        group.sort(key=lambda s: hashlib.sha256(f"{seed}|{s}".encode()).digest())
        ranked += [(rank, atoms, smiles) for rank, smiles in enumerate(group)]
    return [smiles for _, _, smiles in sorted(ranked)[:count]]


def _relax(
    engine: Xtb, positions: np.ndarray, constants: np.ndarray, vectors: np.ndarray, steps: int
) -> np.ndarray:
    """Newton steps with the force field's Hessian in place of GFN2-xTB's, 0.15 angstrom at most."""
    best, lowest = positions, np.inf
    scale = 1.0
    labels = None
    for _ in range(steps):
        trial = engine(positions)
        if trial.energy < lowest:
            best, lowest, labels = positions, trial.energy, trial
        else:
            scale *= 0.3
        assert labels is not None
        step = vectors @ ((vectors.T @ labels.forces.ravel()) / constants)
        step *= scale * min(1.0, 0.15 / max(np.abs(step).max(), 1e-12))
        positions = best + step.reshape(best.shape)
    return positions


def _intact(positions: np.ndarray, reference: np.ndarray, bonds: np.ndarray) -> bool:
    """Bonds have 0.7 to 1.4 times their length in `reference`, and no atoms are in contact."""

    def lengths(x: np.ndarray) -> np.ndarray:
        length: np.ndarray = np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1)
        return length

    ratio = lengths(positions) / lengths(reference)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    distance[np.diag_indices(len(positions))] = np.inf
    return bool(ratio.min() > 0.7 and ratio.max() < 1.4 and distance.min() > 0.6)


def _label_chunk(molecules: Sequence[str], settings: Settings, folder: Path) -> None:
    path = folder / f"{hashlib.sha256(repr(list(molecules)).encode()).hexdigest()[:16]}.npz"
    rows = [row for smiles in molecules for row in label_molecule(smiles, settings)]
    names = Properties.names()
    arrays: dict[str, Any] = {
        "tried": np.array(molecules, dtype=str),
        "smiles": np.array([row.smiles for row in rows], dtype=str),
        "index": np.array([row.index for row in rows], dtype=np.int64),
        "temperature": np.array([row.temperature for row in rows]),
        "count": np.array([len(row.types) for row in rows], dtype=np.int64),
        "state": np.array([(row.charge, row.spin) for row in rows], np.int64).reshape(-1, 2),
        "properties": np.array(
            [
                np.full(len(names), np.nan) if r.properties is None else r.properties.array()
                for r in rows
            ]
        ).reshape(-1, len(names)),
        "energy": np.array([row.labels.energy for row in rows]),
        "dipole": np.array([row.labels.dipole for row in rows]).reshape(-1, 3),
        "quadrupole": np.array([row.labels.quadrupole for row in rows]).reshape(-1, 3, 3),
        "types": np.concatenate([row.types for row in rows] or [np.zeros(0, np.int64)]),
        "positions": np.concatenate([row.positions for row in rows] or [np.zeros((0, 3))]),
        "forces": np.concatenate([row.labels.forces for row in rows] or [np.zeros((0, 3))]),
        "charges": np.concatenate([row.labels.charges for row in rows] or [np.zeros(0)]),
        "valences": np.concatenate([row.labels.valences for row in rows] or [np.zeros(0)]),
    }
    with atomic(path) as scratch:
        np.savez(scratch, **arrays)


def _load(path: Path) -> Iterator[Conformer]:
    with np.load(path) as archive:
        data = {name: archive[name] for name in archive.files}
    stops = np.cumsum(data["count"])
    for i, stop in enumerate(stops):
        atoms = slice(stop - data["count"][i], stop)
        yield Conformer(
            smiles=str(data["smiles"][i]),
            index=int(data["index"][i]),
            temperature=float(data["temperature"][i]),
            types=data["types"][atoms],
            positions=data["positions"][atoms],
            labels=Labels(
                energy=float(data["energy"][i]),
                forces=data["forces"][atoms],
                dipole=data["dipole"][i],
                charges=data["charges"][atoms],
                quadrupole=data["quadrupole"][i],
                valences=data["valences"][atoms],
            ),
            charge=int(data["state"][i, 0]),
            spin=int(data["state"][i, 1]),
            properties=Properties(*data["properties"][i].tolist())
            if np.isfinite(data["properties"][i, 0])
            else None,
        )
