"""Figures of lattice vibrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from sfm.constants import BOLTZMANN

GREEK = {"G": "\u0393"}


def plot_phonons(
    seen: Mapping[str, Float[Tensor, " ..."]],
    marks: Sequence[tuple[float, str]],
    atoms: int,
    path: Path,
) -> None:
    """Bands and density of states in THz; heat capacity per atom and free energy of a cell.

    Args:
        seen: observables of `crystals/phonons`: bands (Q, B), the rest (F,) or (T,).
        marks: named points of the path, at places in 1/angstrom.
        atoms: of the cell.
        path: of the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    bands, states, heat = figure.subplots(1, 3, width_ratios=(3, 1, 2))
    bands.plot(seen["band_distance"], seen["phonon_frequencies"], color="C0", lw=1)
    joined: dict[float, str] = {}
    for place, name in marks:  # where a path breaks off and goes on, both names
        name = GREEK.get(name, name)
        joined[place] = f"{joined[place]}|{name}" if place in joined else name
    bands.set_xticks([*joined], [*joined.values()])
    for place in joined:
        bands.axvline(place, color="grey", lw=0.5)
    bands.axhline(0.0, color="grey", lw=0.5)
    bands.set_xlim(float(seen["band_distance"][0]), float(seen["band_distance"][-1]))
    bands.set_ylabel("frequency (THz)")
    states.plot(seen["phonon_dos"], seen["dos_frequency"], color="C0", lw=1)
    states.set_ylim(bands.get_ylim())
    states.set_xlabel("states (1/THz)")
    kelvin = seen["grid_temperature"]
    heat.plot(kelvin, seen["heat_capacity"] / (atoms * BOLTZMANN), color="C3")
    heat.set_xlabel("temperature (K)")
    heat.set_ylabel("heat capacity (k_B per atom)", color="C3")
    energy = heat.twinx()
    energy.plot(kelvin, seen["helmholtz_energy"] / atoms, color="C2")
    energy.set_ylabel("free energy of phonons (eV/atom)", color="C2")
    figure.savefig(path, dpi=150)


def plot_expansion(seen: Mapping[str, Float[Tensor, " ..."]], atoms: int, path: Path) -> None:
    """Volume per atom, thermal expansion and bulk modulus, (T,) each, against kelvin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    volume, expansion, bulk = figure.subplots(1, 3)
    kelvin = seen["grid_temperature"]
    volume.plot(kelvin, seen["thermal_volume"] / atoms)
    volume.set_ylabel("volume (\u00c5\u00b3/atom)")
    expansion.plot(kelvin, 1e6 * seen["thermal_expansion"])
    expansion.set_ylabel("thermal expansion (10\u207b\u2076/K)")
    bulk.plot(kelvin, seen["thermal_bulk_modulus"])
    bulk.set_ylabel("bulk modulus (GPa)")
    for axes in (volume, expansion, bulk):
        axes.set_xlabel("temperature (K)")
    figure.savefig(path, dpi=150)
