"""The melting point of Lennard-Jones at zero pressure, from free energies; the full potential.

    python recipes/lennard_jones_melting.py [--temperatures 0.67 0.72] [--repeat 3]
        [--steps 2000] [--output FILE.json]

The solid's Gibbs energy is ours, `crystals/free-energy` in a cell of zero pressure: 4 repeat^3
atoms, pairs up to 4 sigma, those beyond as in the lattice at rest. The liquid's is a published
equation. Where they cross, the crystal melts: published, 0.694 (E. A. Mastny, J. J. de Pablo, J.
Chem. Phys. 127, 104504 (2007); triple point, whose pressure of 0.001 moves it by less than 0.0002).

Equations, in units of epsilon and sigma: liquid, M. Thol, G. Rutkai, A. Koester, R. Lustig, R.
Span, J. Vrabec, J. Phys. Chem. Ref. Data 45, 023101 (2016), below its range of temperatures here
(0.66 to its triple point), where it is smooth; melting line, Mastny and de Pablo; lattice at rest
and density of the solid beside its vapour, M. A. van der Hoef, J. Chem. Phys. 113, 8142 (2000) and
117, 5093 (2002).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from sfm_crystals.data.prototypes import fcc
from sfm_crystals.simulators.free_energy import FreeEnergy

from sfm.constants import BOLTZMANN
from sfm.simulate.dynamics.particles import masses_of
from sfm.simulate.dynamics.wells import of_momenta

EPSILON, SIGMA, ARGON = 0.0104, 3.4, 18  # eV, angstrom
CRITICAL = (1.32, 0.31)  # temperature, density
POWERS = (  # n, t, d
    (0.005208073, 1.0, 4), (2.186252, 0.32, 1), (-2.161016, 0.505, 1), (1.4527, 0.672, 2),
    (-2.041792, 0.843, 2), (0.18695286, 0.898, 3),
)  # fmt: skip
EXPONENTIALS = (  # n, t, d, l
    (-0.090988445, 1.294, 5, 1), (-0.4974561, 2.59, 2, 2), (0.10901431, 1.786, 2, 1),
    (-0.80055922, 2.77, 3, 2), (-0.568839, 1.786, 1, 2), (-0.6208625, 1.205, 1, 1),
)  # fmt: skip
GAUSSIANS = (  # n, t, d, eta, beta, gamma, epsilon
    (-1.4667177, 2.83, 1, 2.067, 0.625, 0.71, 0.2053),
    (1.891469, 2.548, 1, 1.522, 0.638, 0.86, 0.409),
    (-0.1383701, 4.65, 2, 8.82, 3.91, 1.94, 0.6),
    (-0.3869645, 1.385, 3, 1.722, 0.156, 1.48, 1.203),
    (0.1265702, 1.46, 3, 0.679, 0.157, 1.49, 1.829),
    (0.605781, 1.351, 2, 1.883, 0.153, 1.945, 1.397),
    (1.179189, 0.66, 1, 3.925, 1.16, 3.02, 1.39),
    (-0.47732679, 1.496, 2, 2.461, 1.73, 1.11, 0.539),
    (-9.9218575, 1.83, 3, 28.2, 383.0, 1.17, 0.934),
    (-0.5747932, 1.616, 1, 0.753, 0.112, 1.33, 2.369),
    (0.003772923, 4.97, 1, 0.82, 0.119, 0.24, 2.43),
)
SOLID = (0.908629, -0.041510, 0.514632, -0.708590, 0.428351, -0.095229)
LIQUID = (0.90735, -0.27120, 0.91784, -1.16270, 0.68012, -0.15284)
LATTICE = (-14.45392093, 6.065940096)
SUBLIMING = (-0.134343, -0.0950795, 0.137215, -0.161890)


# ------------------------------------------------------------------ published equations


def residual(temperature: float, density: float) -> float:
    """A / N kT of the fluid less that of the ideal gas."""
    tau, delta = CRITICAL[0] / temperature, density / CRITICAL[1]
    total = math.fsum(n * tau**t * delta**d for n, t, d in POWERS)
    total += math.fsum(n * tau**t * delta**d * math.exp(-(delta**k)) for n, t, d, k in EXPONENTIALS)
    for n, t, d, eta, beta, gamma, epsilon in GAUSSIANS:
        bell = math.exp(-eta * (delta - epsilon) ** 2 - beta * (tau - gamma) ** 2)
        total += n * tau**t * delta**d * bell
    return total


def pressure(temperature: float, density: float, step: float = 1e-5) -> float:
    """Of the fluid."""
    slope = residual(temperature, density + step) - residual(temperature, density - step)
    return density * temperature * (1 + density * slope / (2 * step))


def gibbs(temperature: float, density: float) -> float:
    """Per atom of the fluid, thermal wavelengths left out."""
    ideal = temperature * (math.log(density) - 1)
    rest = temperature * residual(temperature, density)
    return ideal + rest + pressure(temperature, density) / density


def melting(temperature: float) -> tuple[float, float]:
    """Densities of the solid and the liquid on the melting line."""
    beta = 1 / temperature
    solid, liquid = (math.fsum(c * beta**k for k, c in enumerate(row)) for row in (SOLID, LIQUID))
    return solid / math.pow(beta, 0.25), liquid / math.pow(beta, 0.25)


def liquid_density(temperature: float, outside: float) -> float:
    """Of the liquid at a pressure, by Newton's method from that of melting."""
    density, step = melting(temperature)[1], 1e-4
    for _ in range(30):
        slope = pressure(temperature, density + step) - pressure(temperature, density - step)
        density -= (pressure(temperature, density) - outside) * 2 * step / slope
    return density


def lattice(density: float) -> float:
    """Energy per atom of fcc at rest."""
    return LATTICE[0] * density**2 + LATTICE[1] * density**4


def solid_density(temperature: float) -> float:
    """Of fcc beside its vapour, at nearly no pressure."""
    rest = math.sqrt(-LATTICE[0] / (2 * LATTICE[1]))
    return rest + math.fsum(c * temperature ** (k + 1) for k, c in enumerate(SUBLIMING))


# ------------------------------------------------------------------ our solid


def helmholtz(
    temperature: float, density: float, *, repeat: int, steps: int, seed: int = 0
) -> tuple[float, float]:
    """Of the solid, per atom without thermal wavelengths, and its standard error."""
    kelvin = temperature * EPSILON / BOLTZMANN
    cell = fcc(ARGON, (4 / density) ** (1 / 3) * SIGMA)
    simulator = FreeEnergy(
        temperature=kelvin, repeat=repeat, cutoff=4.0, switch="shift", seed=seed
    ).requires_grad_(False)
    run = simulator.run(simulator.state(cell), steps, every=10)
    seen = {
        name: float(values[-1]) for name, values in run.observables.items() if values.dim() == 1
    }
    at_rest = simulator.statics()
    cut = float(at_rest.energy(at_rest.state(cell))[0])
    momenta = float(of_momenta(masses_of([cell])[:1], kelvin))
    momenta -= 3 * BOLTZMANN * kelvin * math.log(SIGMA)  # lengths in sigma
    energy = ((seen["free_energy"] - cut) / 4 - momenta) / EPSILON
    return energy + lattice(density), seen["free_energy_error"] / 4 / EPSILON


def apart(temperature: float, density: float, outside: float, **run: int) -> tuple[float, float]:
    """G_solid - G_liquid per atom at a pressure, and its standard error.

    `density` is the solid's, at or near that pressure: what is missing is of second order.
    """
    energy, error = helmholtz(temperature, density, **run)
    fluid = gibbs(temperature, liquid_density(temperature, outside))
    return energy + outside / density - fluid, error


def crossing(rows: list[tuple[float, float, float]]) -> tuple[float, float]:
    """Where a line through (T, G_solid - G_liquid, error) is zero, and its standard error."""
    t, gap, error = torch.tensor(rows, dtype=torch.float64).T
    weight = error**-2
    middle = (weight * t).sum() / weight.sum()
    slope = (weight * (t - middle) * gap).sum() / (weight * (t - middle) ** 2).sum()
    level = (weight * gap).sum() / weight.sum()
    at = middle - level / slope
    spread = 1 / weight.sum() + (at - middle) ** 2 / (weight * (t - middle) ** 2).sum()
    return float(at), float(spread.sqrt() / slope.abs())


def main(argv: list[str] | None = None) -> int:
    """Gaps at each temperature and the melting point, as they come and into a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.67, 0.72])
    parser.add_argument("--repeat", type=int, default=3, help="cells of four atoms along each side")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    rows, spent = [], time.process_time()
    for t in options.temperatures:
        gap, error = apart(t, solid_density(t), 0.0, repeat=options.repeat, steps=options.steps)
        rows.append((t, gap, error))
        print(f"T {t:.3f}: G_solid - G_liquid = {gap:+.4f} +- {error:.4f} epsilon", flush=True)
    at, error = crossing(rows)
    print(f"melts at {at:.4f} +- {error:.4f}; published 0.694")
    report = {
        "atoms": 4 * options.repeat**3,
        "steps": options.steps,
        "rows": [dict(zip(("temperature", "gap", "error"), row, strict=True)) for row in rows],
        "melting_temperature": at,
        "error": error,
        "published": 0.694,
        "cpu_seconds": round(time.process_time() - spent, 1),
    }
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
