"""One time step of each ensemble, from the same few moves.

    nve                 B A B          velocity Verlet
    langevin            B A/2 O A/2 B  BAOAB
    nose-hoover         C B A B C      C: half a step of the chain
    velocity-rescaling  B A B R        R: stochastic velocity rescaling
    npt                 B A/2 S A/2 B R  S: stochastic cell rescaling

B kicks velocities by half a step, A drifts positions. Velocity Verlet: W. C. Swope et al., J. Chem.
Phys. 76, 637 (1982). There is one evaluation of forces per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sfm.constants import ACCELERATION
from sfm.data.tokens import system_sum
from sfm.simulate.dynamics import barostat, noise, thermostats
from sfm.simulate.dynamics.motion import Field, Motion, freedom, kinetic_energy

OPEN = ("nve", "langevin", "nose-hoover", "velocity-rescaling")
PERIODIC = (*OPEN, "npt")
THERMAL = ("nose-hoover", "velocity-rescaling", "npt")  # a bath couples to the kinetic energy


class Bath(NamedTuple):
    """Surroundings, tensors of one number each.

    temperature, kelvin; friction, 1/fs; thermostat_time, fs; pressure, eV/angstrom^3; barostat_rate
    (compressibility by barostat time), angstrom^3/(eV fs).
    """

    temperature: Tensor
    friction: Tensor
    thermostat_time: Tensor
    pressure: Tensor
    barostat_rate: Tensor


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The time step of an ensemble for particles of given systems.

    Attributes:
        name: one of `PERIODIC`.
        dt: fs.
        seed: of the noise.
        system: (N,) index of each particle's system, ascending.
        free: (N, 3), false where a coordinate is fixed.
        degrees: (S,) degrees of freedom.
        at_rest: (S,) 1 where the total momentum stays zero, else 0.
    """

    name: str
    dt: float
    seed: int
    system: Tensor
    free: Tensor
    degrees: Tensor
    at_rest: Tensor

    @staticmethod
    def of(
        name: str, dt: float, seed: int, system: Tensor, free: Tensor, *, at_rest: bool
    ) -> Ensemble:
        """For particles of systems `system` (N,), with `free` (N, 3) coordinates and `dt` in fs.

        `at_rest` says whether their total momentum stays zero.
        """
        degrees = freedom(system, free, at_rest=at_rest)
        still = freedom(system, free, at_rest=False) > degrees
        return Ensemble(name, dt, seed, system, free, degrees, still.double())

    @property
    def needs_virial(self) -> bool:
        return self.name == "npt"

    def kinetic(self, velocities: Tensor, masses: Tensor) -> Tensor:
        """(S,) eV."""
        return system_sum(kinetic_energy(velocities, masses), self.system, len(self.degrees))

    def step(self, m: Motion, number: int, masses: Tensor, bath: Bath, field: Field) -> Motion:
        """The motion `dt` later, step `number`.

        Args:
            m: with forces at its positions, zero where a coordinate is fixed.
            masses: (N, 1) amu.
            bath: surroundings, as far as the ensemble has any.
            field: forces, zero where a coordinate is fixed, and virials.
        """
        if self.name == "nose-hoover":
            m = self._chained(m, masses, bath)
        before = m
        half = (0.5 * self.dt * ACCELERATION) * m.forces / masses
        m = m._replace(velocities=m.velocities + half)
        if self.name == "langevin":
            m = self._drift(m, 0.5 * self.dt)
            m = self._rubbed(m, number, masses, bath)
            m = self._drift(m, 0.5 * self.dt)
        elif self.name == "npt":
            m = self._drift(m, 0.5 * self.dt)
            m = self._stretched(m, before, number, masses, bath)
            m = self._drift(m, 0.5 * self.dt)
        else:
            m = self._drift(m, self.dt)
        forces, virial = field(m.positions, m.cell)
        half = (0.5 * self.dt * ACCELERATION) * forces / masses
        m = m._replace(velocities=m.velocities + half, forces=forces, virial=virial)
        if self.name == "nose-hoover":
            m = self._chained(m, masses, bath)
        elif self.name in ("velocity-rescaling", "npt"):
            m = self._rescaled(m, number, masses, bath)
        return m

    def _drift(self, m: Motion, dt: float) -> Motion:
        return m._replace(positions=m.positions + dt * m.velocities)

    def _rubbed(self, m: Motion, number: int, masses: Tensor, bath: Bath) -> Motion:
        drawn = noise.normals(tuple(m.velocities.shape), m.velocities, self.seed, number)
        velocities = thermostats.langevin(
            m.velocities,
            masses,
            self.dt,
            friction=bath.friction,
            temperature=bath.temperature,
            noise=self.free * drawn,
        )
        given = self.kinetic(velocities, masses) - self.kinetic(m.velocities, masses)
        return m._replace(velocities=velocities, heat=m.heat + given)

    def _rescaled(self, m: Motion, number: int, masses: Tensor, bath: Bath) -> Motion:
        kinetic = self.kinetic(m.velocities, masses)
        factor = thermostats.rescaling(
            kinetic,
            self.dt,
            time=bath.thermostat_time,
            temperature=bath.temperature,
            normal=self._draws(kinetic, number)[0],
            rest=noise.chi_squares(self.degrees - 1, kinetic, self.seed, number),
        )
        velocities = m.velocities * factor[self.system].unsqueeze(1)
        return m._replace(velocities=velocities, heat=m.heat + kinetic * (factor.square() - 1))

    def _chained(self, m: Motion, masses: Tensor, bath: Bath) -> Motion:
        factor, chain = thermostats.nose_hoover(
            self.kinetic(m.velocities, masses),
            m.chain,
            self.dt,
            degrees=self.degrees.to(m.heat),
            time=bath.thermostat_time,
            temperature=bath.temperature,
        )
        return m._replace(velocities=m.velocities * factor[self.system].unsqueeze(1), chain=chain)

    def _stretched(
        self, m: Motion, before: Motion, number: int, masses: Tensor, bath: Bath
    ) -> Motion:
        """Cell and atoms, by the pressure at the beginning of the step, where it is known."""
        volume = barostat.volume(before.cell)
        kinetic = self.kinetic(before.velocities, masses)
        scale = barostat.stretch(
            volume,
            barostat.pressure(kinetic, before.virial, volume),
            self.dt,
            target=bath.pressure,
            temperature=bath.temperature,
            rate=bath.barostat_rate,
            at_rest=self.at_rest.to(volume),
            noise=self._draws(volume, number)[1],
        )
        each = scale[self.system].unsqueeze(1)
        return m._replace(
            positions=m.positions * each,
            velocities=m.velocities / each,
            cell=m.cell * scale[:, None, None],
        )

    def _draws(self, like: Tensor, number: int) -> Tensor:
        """(2, S) standard normal numbers: for the thermostat, for the barostat."""
        return noise.normals((2, len(self.degrees)), like, self.seed, number)

    def stored(self, m: Motion, bath: Bath) -> Tensor:
        """(S,) eV that the bath holds: with the particles' energy it is conserved (not in npt)."""
        if self.name != "nose-hoover":
            return -m.heat
        degrees = self.degrees.to(m.heat)
        return thermostats.chain_energy(m.chain, degrees, bath.thermostat_time, bath.temperature)
