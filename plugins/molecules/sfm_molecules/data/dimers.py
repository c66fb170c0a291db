"""Pairs of small molecules with GFN2-xTB labels of the pair and of its interaction.

Pair number i depends on the seed and on i alone: on its kind (two closed-shell neutral molecules, a
neutral one and an ion, a neutral one and a radical), on its split, on its molecules, on its
geometries. So neither the number of workers nor an interruption changes it, and a larger set begins
with a smaller one. Neutral molecules are drawn from those that the hash of their SMILES puts into
the pair's split; ions and radicals are few, and stand in all splits.

A geometry: both molecules relaxed on the GFN2-xTB surface, displaced along their force field's
modes (but for the first geometry of a pair), turned at random, and put at a gap drawn for its place
in the row: wall, contact, near, far. Half of the pairs have the one in contact relaxed for some
steps.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.atomic import atomic
from sfm.data.conditions import unpaired
from sfm.data.labelling import label_all, note
from sfm.data.splits import SPLITS, assign
from sfm.errors import InputError, RunError
from sfm_molecules.data.labelling import Xtb
from sfm_molecules.geometry.conformers import force_field, geometry
from sfm_molecules.geometry.displacement import displace, force_field_hessian, modes
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.geometry.pairing import apart, radii, random_turn

FILES = 1  # of kept chunks: raised when they hold other numbers
IONS = (
    "[NH4+]",
    "C[NH3+]",
    "C[N+](C)(C)C",
    "[OH3+]",
    "C[OH2+]",
    "NC(N)=[NH2+]",
    "[F-]",
    "[Cl-]",
    "[Br-]",
    "[OH-]",
    "[SH-]",
    "C[O-]",
    "O=C[O-]",
    "CC(=O)[O-]",
    "[O-][N+](=O)[O-]",
    "[C-]#N",
)
RADICALS = (
    "[CH3]",
    "C[CH2]",
    "C[CH]C",
    "C=[CH]",
    "C=C[CH2]",
    "[CH2]O",
    "C[O]",
    "[OH]",
    "O[O]",
    "[NH2]",
    "C[S]",
    "[SH]",
    "C[C]=O",
    "[N]=O",
    "[O]N=O",
    "[Cl]",
)
KINDS = (("neutral", 0.7), ("ion", 0.15), ("radical", 0.15))
SHARES = dict(zip(SPLITS, (0.7, 0.1, 0.2), strict=True))  # of the pairs
GAPS = ((-1.2, -0.4), (-0.6, 0.6), (0.6, 2.5), (2.5, 6.0))  # angstrom: wall, contact, near, far
CONTACT = 1  # its place in `GAPS`


@dataclass(frozen=True)
class DimerSettings:
    """How pairs are made.

    Attributes:
        seed: goes into every pair's random numbers.
        temperatures: bounds in kelvin of the log-uniform temperature of displacements.
        monomer_steps, dimer_steps: of relaxations on the GFN2-xTB surface.
        max_force: geometries with a larger force on an atom (eV/angstrom) are left out.
    """

    seed: int = 0
    temperatures: tuple[float, float] = (150.0, 600.0)
    monomer_steps: int = 12
    dimer_steps: int = 12
    max_force: float = 15.0


@dataclass(frozen=True)
class Monomer:
    """A molecule of a pair, relaxed, with its modes (none where no force field has types)."""

    smiles: str
    charge: int
    spin: int
    types: np.ndarray
    positions: np.ndarray
    constants: np.ndarray | None
    vectors: np.ndarray | None


def pair(
    index: int, pools: Mapping[str, Sequence[str]], seed: int
) -> tuple[str, str, str, np.random.Generator]:
    """Split, first and second SMILES (in order of the alphabet) of pair `index`, and its generator.

    Args:
        index: from 0. pools: neutral molecules by split. seed: of the dataset.
    """
    generator = np.random.default_rng((seed, index))
    kind = generator.choice([k for k, _ in KINDS], p=[p for _, p in KINDS])
    split = str(generator.choice(list(SHARES), p=list(SHARES.values())))
    pool = pools[split]
    first = pool[int(generator.integers(len(pool)))]
    others = {"neutral": pool, "ion": IONS, "radical": RADICALS}[str(kind)]
    second = others[int(generator.integers(len(others)))]
    return split, min(first, second), max(first, second), generator


def by_split(molecules: Sequence[str]) -> dict[str, list[str]]:
    """Molecules by the split of the hash of their SMILES, as of `molecules-xtb`."""
    pools: dict[str, list[str]] = {split: [] for split in SPLITS}
    for smiles in molecules:
        pools[assign(smiles)].append(smiles)
    return pools


def label_pair(
    index: int, pools: Mapping[str, Sequence[str]], settings: DimerSettings
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Labelled geometries of pair `index`, in plain numbers, and (id, reason) of those that failed.

    Raises:
        RunError, InputError: never; what fails is a reason.
    """
    split, *names, generator = pair(index, pools, settings.seed)
    head = {"split": split, "group": ".".join(names), "first": names[0], "second": names[1]}
    try:
        both = [monomer(smiles, settings) for smiles in names]
    except (InputError, RunError) as error:
        return [], [(f"{index:06d}", f"{head['group']}: {error}")]
    relaxed = generator.random() < 0.5
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    for place, bounds in enumerate(GAPS):
        name = f"{index:06d}-{place}"
        parts = arrange(both, bounds, place > 0, settings, generator)
        try:
            steps = settings.dimer_steps if relaxed and place == CONTACT else 0
            row = label(both, parts, steps)
        except RunError as error:
            failures.append((name, f"{head['group']}: {error}"))
            continue
        largest = float(np.abs(row["forces"]).max())
        if largest > settings.max_force:
            reason = f"a force of {largest:.1f} eV/angstrom"
            failures.append((name, f"{head['group']}: {reason}"))
            continue
        rows.append({"id": name, **head, "relaxed": steps > 0, **row})
    return rows, failures


def monomer(smiles: str, settings: DimerSettings) -> Monomer:
    """A molecule, ion or radical, relaxed.

    Raises:
        InputError: no geometry is found. RunError: no self-consistent field.
    """
    from rdkit import Chem

    digest = hashlib.sha256(f"{settings.seed}|{smiles}".encode()).digest()
    molecule = embed(smiles, seed=int.from_bytes(digest[:4], "little"))
    types, start = geometry(molecule)
    charge = Chem.GetFormalCharge(molecule)
    spin = int(unpaired({"charge": charge}, types))
    positions = descend(Xtb(types, charge=charge, uhf=spin), start, settings.monomer_steps)
    field = force_field(molecule) if len(types) > 1 else None
    constants = vectors = None
    if field is not None:
        field.Initialize()
        constants, vectors = modes(force_field_hessian(field, start), start)
    return Monomer(smiles, charge, spin, types, positions, constants, vectors)


def arrange(
    both: Sequence[Monomer],
    bounds: tuple[float, float],
    displaced: bool,
    settings: DimerSettings,
    generator: np.random.Generator,
) -> list[Float[np.ndarray, "_ 3"]]:
    """Positions (n, 3) of each, angstrom: displaced, turned, and at a gap within `bounds`."""
    low, high = np.log(settings.temperatures)
    temperature = float(np.exp(generator.uniform(low, high)))
    shapes = []
    for one in both:
        positions = one.positions
        if displaced and one.constants is not None and one.vectors is not None:
            positions = displace(positions, one.constants, one.vectors, temperature, generator)
        positions = positions - positions.mean(0)
        shapes.append(positions @ random_turn(generator).T)
    reach = np.add.outer(radii(both[0].types), radii(both[1].types))
    direction = random_turn(generator)[0]
    gap = float(generator.uniform(*bounds))
    return [shapes[0], apart(shapes[0], shapes[1], reach, direction, gap)]


def label(
    both: Sequence[Monomer], parts: Sequence[Float[np.ndarray, "_ 3"]], steps: int
) -> dict[str, Any]:
    """Labels of a pair at its positions, relaxed for `steps`; canonical units, plain lists.

    Raises:
        RunError: no self-consistent field.
    """
    types = np.concatenate([one.types for one in both])
    charge, spin = sum(one.charge for one in both), sum(one.spin for one in both)
    engine = Xtb(types, charge=charge, uhf=spin)
    positions = np.concatenate(parts)
    if steps:
        positions = descend(engine, positions, steps)
    # labels are of the stored numbers
    positions = (positions - positions.mean(0)).astype(np.float32).astype(np.float64)
    labels = engine(positions)
    homo, lumo = engine.frontier()
    n = len(both[0].types)
    alone = [
        Xtb(one.types, charge=one.charge, uhf=one.spin)(part).energy
        for one, part in zip(both, (positions[:n], positions[n:]), strict=True)
    ]
    plain = {name: np.asarray(value).tolist() for name, value in asdict(labels).items()}
    return {
        **plain,
        "types": types.tolist(),
        "positions": positions.tolist(),
        "charge": charge,
        "spin": spin,
        "homo": homo,
        "lumo": lumo if np.isfinite(lumo) else None,
        "interaction_energy": labels.energy - sum(alone),
    }


def descend(
    engine: Xtb, positions: Float[np.ndarray, "n 3"], steps: int, longest: float = 0.1
) -> Float[np.ndarray, "n 3"]:
    """The lowest of some steps down the forces, (n, 3) angstrom.

    J. Barzilai, J. M. Borwein, IMA J. Numer. Anal. 8, 141 (1988): each step is as long as the last
    change of the forces says, here `longest` angstrom for an atom at most.

    Raises:
        RunError: no self-consistent field at the start.
    """
    labels = engine(positions)
    best, lowest = positions, labels.energy
    last: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(steps):
        rate = 0.01  # angstrom^2/eV, below that of the stiffest bond
        if last is not None:
            moved, changed = positions - last[0], labels.forces - last[1]
            slope = -float((moved * changed).sum())
            rate = float((moved**2).sum()) / slope if slope > 0 else 0.05
        last = positions, labels.forces
        step = rate * labels.forces
        length = float(np.linalg.norm(step, axis=1).max(initial=0.0))
        positions = positions + step * min(1.0, longest / max(length, 1e-12))
        try:
            labels = engine(positions)
        except RunError:
            break
        if labels.energy < lowest:
            best, lowest = positions, labels.energy
    return best


def label_dimers(
    molecules: Sequence[str],
    size: int,
    settings: DimerSettings,
    folder: Path,
    *,
    workers: int = 1,
    chunk: int = 25,
    report: Callable[[str], None] = note,
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The first `size` labelled geometries, and (id, reason) of what failed on the way.

    Args:
        molecules: closed-shell neutral ones.
        size: geometries.
        settings: how they are made.
        folder: keeps finished chunks; what another call with the same molecules and settings has
            done, finished or stopped, is not done again.
        workers: processes.
        chunk: pairs in a job.
        report: called with a line for each job.

    Raises:
        RunError: jobs failed, or hardly a pair can be labelled.
        InputError: no molecule is of one of the splits.
    """
    pools = by_split(molecules)
    empty = [split for split, pool in pools.items() if not pool]
    if empty:
        raise InputError(f"no molecule of {len(molecules)} is of the split {', '.join(empty)}")
    said = json.dumps([FILES, asdict(settings), chunk, pools])
    folder = folder / hashlib.sha256(said.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "pools.json") as scratch:
        scratch.write_text(json.dumps(pools), "utf-8")
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    start = 0
    while len(rows) < size:
        if start > 100 and len(rows) < start // 10:
            raise RunError(f"{len(rows)} geometries of {start} pairs only; see {folder}")
        count = -(-(size - len(rows)) // (len(GAPS) * chunk))
        jobs = [(folder, start + i * chunk, chunk, settings) for i in range(count)]
        names = [f"pairs {first} to {first + chunk - 1}" for _, first, _, _ in jobs]
        for path in label_all(_label_chunk, jobs, names, workers=workers, report=report):
            kept = json.loads(path.read_text("utf-8"))
            rows += kept["rows"]
            failures += [(name, reason) for name, reason in kept["failures"]]
        start += count * chunk
    rows = rows[:size]
    last = rows[-1]["id"] if rows else ""
    return rows, [(name, reason) for name, reason in failures if name <= last]


def write_failures(failures: Sequence[tuple[str, str]], path: Path) -> None:
    """A table `id,reason`, replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([("id", "reason"), *failures])


def _label_chunk(job: tuple[Path, int, int, DimerSettings]) -> Path:
    folder, start, count, settings = job
    path = folder / f"{start:06d}.json"
    if path.is_file():
        return path
    pools = json.loads((folder / "pools.json").read_text("utf-8"))
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    for index in range(start, start + count):
        more, failed = label_pair(index, pools, settings)
        rows += more
        failures += failed
    with atomic(path) as scratch:
        scratch.write_text(json.dumps({"rows": rows, "failures": failures}), "utf-8")
    return path


def fragments(group: str) -> Iterator[tuple[str, int, int, int]]:
    """(SMILES, atoms, charge in e, unpaired electrons) of each molecule of a row's `group`.

    The row's atoms are those of the first molecule, then those of the second.
    """
    from rdkit import Chem

    from sfm_molecules.geometry.embedding import parse_smiles

    for smiles in group.split("."):
        molecule = parse_smiles(smiles)
        charge = Chem.GetFormalCharge(molecule)
        types = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
        yield smiles, len(types), charge, int(unpaired({"charge": charge}, types))
