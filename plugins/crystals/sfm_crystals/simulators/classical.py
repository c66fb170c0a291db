"""Which classical energy a simulator of crystals has: the door that all of them share.

A potential is a row of `POTENTIALS`: its parameters with usual values, the settings it looks at,
and its energy. Those with parameters by element live in modules of their own, from a table or not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.rigid import say_not_kept
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError, InputWarning
from sfm.simulate import dispersion
from sfm.simulate.base import Parameter, Setting, Simulator
from sfm.simulate.dispersion import Dispersion
from sfm_crystals.cells import Cells
from sfm_crystals.data.prototypes import diamond, fcc
from sfm_crystals.potentials.buckingham import Buckingham
from sfm_crystals.potentials.lennard_jones import lennard_jones
from sfm_crystals.potentials.metals import Metals
from sfm_crystals.potentials.morse import morse
from sfm_crystals.potentials.setfl import Setfl
from sfm_crystals.potentials.stillinger_weber import stillinger_weber
from sfm_crystals.potentials.tersoff import Tersoff

if TYPE_CHECKING:
    Holder = Simulator
else:
    Holder = object

ARGON, SILICON, COPPER = 18, 14, 29
LIQUID_ARGON = 5.797  # angstrom, 4 atoms in its cube: 1.374 g/cm^3
PARAMETERS = (
    Parameter("epsilon", "eV", 0.0104, 1e-6, 100.0, "energy scale; argon 0.0104, Si 2.1683"),
    Parameter("sigma", "angstrom", 3.40, 0.1, 20.0, "length scale; argon 3.40, Si 2.0951"),
    Parameter("three_body", "1", 21.0, 0.0, 1000.0, "lambda of Stillinger-Weber; Si 21"),
    Parameter("well_depth", "eV", 0.3429, 1e-6, 100.0, "D of morse; Cu 0.3429"),
    Parameter("stiffness", "1/angstrom", 1.3588, 1e-3, 100.0, "a of morse; Cu 1.3588"),
    Parameter("bond_length", "angstrom", 2.866, 0.1, 20.0, "r0 of morse; Cu 2.866"),
)
SETTINGS = (
    Setting(
        "potential",
        "auto",
        (
            "auto", "lennard-jones", "morse", "buckingham", "stillinger-weber", "tersoff", "eam",
            "none",
        ),
        summary="classical energy; auto: none with a closure, else lennard-jones",
    ),
    Setting("table", "", summary="file of parameters of buckingham, tersoff or eam (setfl)"),
    Setting("cutoff", 3.0, summary="of lennard-jones in units of sigma, of morse of bond_length"),
    Setting(
        "coulomb", "ewald", ("ewald", "pme"),
        summary="how buckingham's charges are summed; pme (a mesh) from 200 ions on",
    ),
    Setting("reach", 10.0, unit="angstrom", summary="cutoff of buckingham's short range"),
    Setting(
        "switch", "quintic", ("quintic", "xplor", "shift"), summary="how the energy of a pair ends"
    ),
    *dispersion.SETTINGS,
)  # fmt: skip
CITATIONS = (
    "doi:10.1103/PhysRevB.31.5262",  # Stillinger-Weber
    "doi:10.1103/PhysRev.34.57",  # Morse
    "doi:10.1098/rspa.1938.0173",  # Buckingham
    "doi:10.1063/1.464397",  # charges on a mesh
    "doi:10.1103/PhysRevB.39.5566",  # Tersoff
    "doi:10.1103/PhysRevB.29.6443",  # embedded atom
    "doi:10.1103/PhysRevB.69.144113",  # metals
    *dispersion.CITATIONS,
)


@dataclass(frozen=True)
class Potential:
    """One classical energy.

    Attributes:
        energy: (S,) eV of a simulator's parameters and cells.
        usual: its parameters and their usual values.
        settings: those it looks at.
        element: whose these values are; its cells then hold one kind of atom.
        attracts: whether dispersion is in it.
        table: makes the module of parameters by element, of a simulator.
    """

    energy: Callable[[Classical, Cells], Tensor]
    usual: Mapping[str, float]
    settings: tuple[str, ...] = ()
    element: int | None = None
    attracts: bool = False
    table: Callable[[Classical], nn.Module] | None = None


def _buckingham(s: Classical) -> Buckingham:
    options = {"reach": s.reach, "switch": s.switch, "coulomb": s.coulomb, "dtype": s.dtype}
    return Buckingham.read(s.table, **options) if s.table else Buckingham.argon(**options)


def _tersoff(s: Classical) -> Tersoff:
    return Tersoff.read(s.table, dtype=s.dtype) if s.table else Tersoff.silicon(dtype=s.dtype)


def _eam(s: Classical) -> nn.Module:
    return Setfl.read(s.table, dtype=s.dtype) if s.table else Metals(dtype=s.dtype)


def _of_table(s: Classical, cells: Cells) -> Tensor:
    assert s.field is not None
    energies: Tensor = s.field(cells)
    return energies


# Argon: N. Bernardes, Phys. Rev. 112, 1534 (1958); silicon: Stillinger & Weber (1985)
POTENTIALS: Mapping[str, Potential] = {
    "lennard-jones": Potential(
        lambda s, cells: lennard_jones(cells, s.epsilon, s.sigma, cutoff=s.cutoff, switch=s.switch),
        {"epsilon": 0.0104, "sigma": 3.40},
        ("cutoff", "switch"),
        ARGON,
        attracts=True,
    ),
    "morse": Potential(
        lambda s, cells: morse(
            cells, s.well_depth, s.stiffness, s.bond_length, cutoff=s.cutoff, switch=s.switch
        ),
        {"well_depth": 0.3429, "stiffness": 1.3588, "bond_length": 2.866},
        ("cutoff", "switch"),
        COPPER,
    ),
    "stillinger-weber": Potential(
        lambda s, cells: stillinger_weber(cells, s.epsilon, s.sigma, s.three_body),
        {"epsilon": 2.1683, "sigma": 2.0951, "three_body": 21.0},
        (),
        SILICON,
    ),
    "buckingham": Potential(
        _of_table,
        {},
        ("table", "coulomb", "reach", "switch"),
        attracts=True,
        table=_buckingham,
    ),
    "tersoff": Potential(_of_table, {}, ("table",), table=_tersoff),
    "eam": Potential(_of_table, {}, ("table",), table=_eam),
    "none": Potential(lambda s, cells: torch.zeros_like(cells.cell[:, 0, 0]), {}),
}


class Classical(Holder):
    """The part of a simulator that has the classical energy and the closure.

    A simulator names `PARAMETERS` and `SETTINGS` among its own, and calls `set_up` before and
    `load` after the constructor of `Simulator`.

    Attributes:
        field: parameters by element, where the potential has such.
        london: the energy of dispersion, where it is asked for.
        chosen: whether the potential's parameters are the user's.
        keeps_bonds: whether bonds whose length a sample fixes keep it.
    """

    keeps_bonds: ClassVar[bool] = False
    potential: str
    table: str
    cutoff: float
    coulomb: str
    reach: float
    switch: str
    dispersion: str
    dispersion_reach: float
    london: Dispersion | None
    epsilon: nn.Parameter
    sigma: nn.Parameter
    three_body: nn.Parameter
    well_depth: nn.Parameter
    stiffness: nn.Parameter
    bond_length: nn.Parameter
    field: nn.Module | None
    chosen: bool

    @classmethod
    def set_up(cls, closure: nn.Module | None, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` with the potential that `auto` stands for, and its usual parameters.

        Raises:
            InputError: there is neither a potential nor a closure, or a value that the potential
                does not look at.
        """
        name = values.get("potential", "auto")
        if name == "auto":
            name = "lennard-jones" if closure is None else "none"
        dispersion.refuse_idle(cls, values)
        if name == "none" and closure is None and values.get("dispersion", "none") == "none":
            raise InputError(
                f"{cls.part}: potential=none leaves no energy; give a closure, or choose "
                f"{', '.join(p for p in POTENTIALS if p != 'none')}"
            )
        if name not in POTENTIALS:  # the constructor says which there are
            return dict(values)
        chosen = POTENTIALS[name]
        mine = {*chosen.usual, *chosen.settings}
        always = {"potential", *(spec.name for spec in dispersion.SETTINGS)}
        others = {spec.name for spec in (*PARAMETERS, *SETTINGS)} - mine - always
        hint = f"; it has {', '.join(sorted(mine))}" if mine else ""
        cls.refuse_idle(values, sorted(others), f"potential={name}", hint)
        return {**chosen.usual, **values, "potential": name}

    def load(self, given: Mapping[str, Any]) -> None:
        """Reads the table, if the potential has one; `given` is what the user gave.

        Raises:
            InputError: a cutoff too short, or a file that is missing or damaged.
        """
        potential = POTENTIALS[self.potential]
        self.chosen = bool(set(potential.usual) & set(given))
        if not self.cutoff > 1.2:
            raise InputError(
                f"{self.part}: cutoff={self.cutoff} lengths of the potential do not reach the "
                "nearest neighbours; use at least 1.2, usually 3"
            )
        if not self.reach > 0:
            raise InputError(f"{self.part}: reach={self.reach} angstrom must be positive")
        if self.table and not Path(self.table).is_file():
            raise InputError(f"{self.part}: table={self.table}: no such file")
        self.field = None if potential.table is None else potential.table(self)
        self.london = dispersion.term(
            self.dispersion,
            self.dispersion_reach,
            potential=self.potential if potential.attracts else "",
            closure=self.closure,
        )

    def energy(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) potential energy in eV: the classical one, the closure's and that of dispersion."""
        total = POTENTIALS[self.potential].energy(self, cells)
        return total + self.added(cells) if self.adds else total

    @property
    def adds(self) -> bool:
        """Whether there is more than the classical energy."""
        return self.closure is not None or self.london is not None

    def added(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) what stands beside the classical energy, eV: the closure's, and dispersion."""
        total = torch.zeros_like(cells.cell[:, 0, 0])
        if self.closure is not None:
            total = total + self.learned(cells)
        if self.london is not None:
            given = Systems(cells.positions, cells.cell, cells.types, cells.system, {})
            total = total + self.london(given)
        return total

    def learned(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) the closure's energy in eV."""
        assert self.closure is not None
        energies: Tensor = self.closure(cells.positions, cells.types, cells.cell, cells.system)
        return energies.to(cells.positions.dtype)

    def baseline(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV of the classical potential, beneath what a model learns.

        Raises:
            InputError: cells that this potential is not for, charged ones among them.
        """
        usual, kinds = POTENTIALS[self.potential].element, systems.types.unique().tolist()
        if not bool((torch.linalg.det(systems.cell) != 0).all()):
            raise InputError(
                f"{self.part}: a baseline here is for cells periodic in three directions"
            )
        if bool(systems.conditions["charge"].any()):
            raise InputError(f"{self.part}: knows nothing of the charge of a cell")
        if usual is not None and (len(kinds) > 1 or (kinds != [usual] and not self.chosen)):
            raise InputError(
                f"{self.part}: potential={self.potential} is for one kind of atom, element {usual} "
                f"unless its parameters are given; these cells have {kinds}"
            )
        return self.energy(Cells.of(systems))

    def known_crystal(self, *, liquid: bool = False) -> Sample:
        """The crystal that the potential's usual parameters are for, nearly at rest.

        Args:
            liquid: argon at the density of the liquid at 94.4 K.
        """
        if self.potential in ("eam", "morse"):
            scale = float(self.bond_length.detach()) / 2.866 if self.potential == "morse" else 1.0
            return fcc(COPPER, 3.615 * scale)
        scale = float(self.sigma.detach()) if self.potential == "lennard-jones" else 3.40
        if self.potential in ("lennard-jones", "buckingham"):
            return fcc(ARGON, LIQUID_ARGON if liquid else 1.5496 * scale)
        scale = float(self.sigma.detach()) if self.potential == "stillinger-weber" else 2.0951
        return diamond(SILICON, 5.431 / 2.0951 * scale)

    def check(self, samples: Sequence[Sample]) -> None:
        """Whether samples are periodic cells that this energy is for; warns of what is unused.

        Raises:
            InputError: no atoms, a cell that is not periodic in three directions, or several kinds
                of atom where the potential knows one; a charge, of which a closure knows nothing.
        """
        usual = POTENTIALS[self.potential].element
        for sample in samples:
            if sample.cell is None or not sample.pbc.all() or len(sample.types) == 0:
                raise InputError(
                    f"{sample.id}: {self.part} needs atoms in a cell that is periodic in three "
                    "directions; molecules/molecular-dynamics takes open systems"
                )
            self._check_conditions(sample)
            if not self.keeps_bonds:
                say_not_kept(sample, self.part)
            kinds = sorted({int(z) for z in sample.types})
            if usual is None:
                continue
            if len(kinds) > 1:
                raise InputError(
                    f"{sample.id}: potential={self.potential} is for one kind of atom, and this "
                    "cell has several; give --closure MODEL, or a potential with a table"
                )
            if kinds != [usual] and not self.chosen:
                names = " and ".join(POTENTIALS[self.potential].usual)
                warnings.warn(
                    f"{sample.id}: {names} are those of element {usual}, and this cell has element "
                    f"{kinds[0]}; set them, or give --closure MODEL",
                    InputWarning,
                    stacklevel=4,
                )

    def _check_conditions(self, sample: Sample) -> None:
        """Charge and spin, which do not enter the energy of a periodic cell: refused, or said."""
        charge = sample.conditions.get("charge", 0.0)
        if charge and self.closure is not None:
            raise InputError(
                f"{sample.id}: charge {charge:+g}, of which the closure of {self.part} knows "
                "nothing; leave the charge out to have the neutral cell's answer"
            )
        names = [n for n in ("charge", "spin") if sample.conditions.get(n)]
        if names:
            warnings.warn(
                f"{sample.id}: {' and '.join(names)} of the sample do not enter the energy of "
                f"potential={self.potential}",
                InputWarning,
                stacklevel=4,
            )
