"""Physical quantities: the words by which heads, datasets and simulators meet.

A `Quantity` says what a number means: its unit, how it turns under rotation, where it lives and
whether it grows with the size of the system. sfm keeps one canonical unit per quantity; files may
hold any compatible unit and are converted when they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sfm.errors import InputError, did_you_mean

Per = Literal["system", "token", "grid"]

_IRREP = re.compile(r"^(\d+x)?[0-9]+[eo]$")


@dataclass(frozen=True)
class Quantity:
    """A physical quantity.

    Attributes:
        name: lower case with underscores, unique among the installed plugins.
        unit: canonical unit, as `pint` reads it; `"1"` for none.
        irreps: how it turns under O(3), as e3nn writes it: `0e`, `1o`, `0e+2e`.
        per: where it lives: one value per `system`, `token` (atom, patch) or `grid` cell.
        extensive: whether two copies far apart have twice the value.
        derived_from: the quantity that it is a derivative of (forces: `energy`), else None.
        affine: `(quantity, factor)`: it is that multiple of another quantity (per token, if only
            the other is extensive) plus one number per token type. An atomisation energy is minus
            an energy plus those of the atoms.
        summary: one line for tables and cards.
    """

    name: str
    unit: str
    irreps: str = "0e"
    per: Per = "system"
    extensive: bool = False
    derived_from: str | None = None
    summary: str = ""
    affine: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise InputError(f"quantity name '{self.name}': use lower case letters, digits and _")
        if self.affine is not None:  # JSON has lists
            object.__setattr__(self, "affine", (str(self.affine[0]), float(self.affine[1])))
        if not all(_IRREP.match(term.strip()) for term in self.irreps.split("+")):
            raise InputError(
                f"quantity '{self.name}': irreps '{self.irreps}' are not of the form '0e+1o+2e'"
            )
        if self.per not in ("system", "token", "grid"):
            raise InputError(f"quantity '{self.name}': per='{self.per}' is not system, token, grid")

    @property
    def dim(self) -> int:
        """Number of components: `0e+2e` has 1 + 5 = 6."""
        total = 0
        for term in self.irreps.split("+"):
            count, _, irrep = term.strip().rpartition("x")
            total += int(count or 1) * (2 * int(irrep[:-1]) + 1)
        return total

    @property
    def is_number(self) -> bool:
        """Whether it is one invariant number per system."""
        return self.per == "system" and self.dim == 1 and self.irreps.strip() == "0e"


ENERGY = Quantity("energy", "eV", extensive=True, summary="total or potential energy")
FORCES = Quantity(
    "forces", "eV/angstrom", "1o", "token", derived_from="energy", summary="minus dE/dx"
)
STRESS = Quantity(
    "stress",
    "eV/angstrom**3",
    "0e+2e",
    derived_from="energy",
    summary="(1/V) dE/dstrain, positive in tension",
)

CORE = (ENERGY, FORCES, STRESS)

# of particles that move (`sfm.simulate.dynamics`); plugins that simulate them declare these
NUCLEAR_KINETIC_ENERGY = Quantity(
    "nuclear_kinetic_energy", "eV", extensive=True, summary="kinetic energy of the moving nuclei"
)
CONSERVED_ENERGY = Quantity(
    "conserved_energy",
    "eV",
    extensive=True,
    summary="potential and kinetic energy of the nuclei, less what thermostats gave; constant",
)
KINETIC_TEMPERATURE = Quantity(
    "kinetic_temperature",
    "kelvin",
    summary="twice the kinetic energy by k_B and the number of degrees of freedom",
)
MEAN_SQUARE_DISPLACEMENT = Quantity(
    "mean_square_displacement", "angstrom**2", summary="of the particles, from the start"
)
RADIAL_DISTRIBUTION = Quantity(
    "radial_distribution",
    "1",
    summary="pairs at each distance, relative to an ideal gas of the same density",
)

# of molecules that vibrate (`sfm.simulate.statics`)
FREQUENCIES = Quantity(
    "frequencies", "1/cm", summary="harmonic vibrations, ascending; negative stands for imaginary"
)

# of ways over barriers, for atoms of any plugin (`sfm.simulate.statics`)
BARRIER = Quantity("barrier", "eV", summary="of the way from the start, highest image")
REVERSE_BARRIER = Quantity("reverse_barrier", "eV", summary="of the way back")
PATH_ENERGY = Quantity("path_energy", "eV", summary="of each image, from the start's")
PATH_DISTANCE = Quantity("path_distance", "angstrom", summary="of each image along the way")
LARGEST_FORCE = Quantity("largest_force", "eV/angstrom", summary="component, on any image")
JOINED_ENERGY = Quantity(
    "joined_energy", "eV", summary="of the two minima that a saddle point joins, from the start"
)
JOINED_DISTANCE = Quantity(
    "joined_distance",
    "angstrom",
    summary="of the two minima that a saddle point joins, from the ends of the way",
)


class QuantityTable(Mapping[str, Quantity]):
    """Quantities by name; an unknown name is an `InputError` with a suggestion."""

    def __init__(self, quantities: Iterable[Quantity] = CORE) -> None:
        self._table: dict[str, Quantity] = {}
        for quantity in quantities:
            self.add(quantity)

    def add(self, quantity: Quantity) -> None:
        """Add `quantity`; two different definitions of one name are an error."""
        known = self._table.get(quantity.name)
        if known is not None and known != quantity:
            raise InputError(
                f"quantity '{quantity.name}' is defined twice: "
                f"[{known.unit}, {known.irreps}, {known.per}] and "
                f"[{quantity.unit}, {quantity.irreps}, {quantity.per}]"
            )
        self._table[quantity.name] = quantity

    def __getitem__(self, name: str) -> Quantity:
        try:
            return self._table[name]
        except KeyError:
            raise InputError(
                f"no quantity '{name}' is known.{did_you_mean(name, self._table)} "
                "`sfm plugin list` shows what the installed plugins declare"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)
