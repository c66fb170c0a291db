"""One time step of each ensemble, from the same few moves.

    nve                 B A B          velocity Verlet
    langevin            B A/2 O A/2 B  BAOAB
    nose-hoover         C B A B C      C: half a step of the chain
    velocity-rescaling  B A B R        R: stochastic velocity rescaling
    npt                 B A/2 S A/2 B R  S: stochastic cell rescaling, all lengths by one factor
    npt-anisotropic     B A/2 S A/2 B R  S: the same, lengths and angles each by themselves

B kicks velocities by half a step, A drifts positions; where bonds keep their lengths, A puts them
back, and B and O leave out what would change them (`rigid`). Velocity Verlet: W. C. Swope et al.,
J. Chem. Phys. 76, 637 (1982). There is one evaluation of forces per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.constants import ACCELERATION
from sfm.data.tokens import system_sum
from sfm.simulate.dynamics import barostat, noise, thermostats
from sfm.simulate.dynamics.motion import Field, Motion, freedom, kinetic_energy
from sfm.simulate.dynamics.rigid import Rigid

OPEN = ("nve", "langevin", "nose-hoover", "velocity-rescaling")
ISOBARIC = ("npt", "npt-anisotropic")
PERIODIC = (*OPEN, *ISOBARIC)
THERMAL = ("nose-hoover", "velocity-rescaling", *ISOBARIC)  # a bath couples to the kinetic energy


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
        rigid: bonds that keep their lengths, None where there are none (always in `ISOBARIC`).
    """

    name: str
    dt: float
    seed: int
    system: Int[Tensor, " N"]
    free: Bool[Tensor, "N 3"]
    degrees: Float[Tensor, " S"]
    at_rest: Float[Tensor, " S"]
    rigid: Rigid | None = None

    @staticmethod
    def of(
        name: str,
        dt: float,
        seed: int,
        system: Int[Tensor, " N"],
        free: Bool[Tensor, "N 3"],
        *,
        at_rest: bool,
        rigid: Rigid | None = None,
    ) -> Ensemble:
        """The ensemble of these particles; degrees of freedom are counted here.

        Args:
            name, dt, seed: as in the class, `dt` in fs; so are system (N,), free (N, 3) and rigid.
            at_rest: whether the total momentum stays zero where no coordinate is fixed.
        """
        degrees = freedom(system, free, at_rest=at_rest)
        still = freedom(system, free, at_rest=False) > degrees
        if rigid is not None:
            degrees = (degrees - rigid.counts.to(degrees)).clamp_min(1.0)
        return Ensemble(name, dt, seed, system, free, degrees, still.double(), rigid)

    @property
    def needs_virial(self) -> bool:
        """Whether a step reads virials: at constant pressure."""
        return self.name in ISOBARIC

    def kinetic(
        self, velocities: Float[Tensor, "N 3"], masses: Float[Tensor, "N 1"]
    ) -> Float[Tensor, " S"]:
        """(S,) eV."""
        return system_sum(kinetic_energy(velocities, masses), self.system, len(self.degrees))

    def kinetic_tensor(
        self, velocities: Float[Tensor, "N 3"], masses: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "S 3 3"]:
        """(S, 3, 3) eV, sums of m v v: its trace is twice the kinetic energy."""
        momenta = masses * velocities / ACCELERATION
        each = momenta.unsqueeze(2) * velocities.unsqueeze(1)
        return system_sum(each, self.system, len(self.degrees))

    def step(
        self, m: Motion, number: int, masses: Float[Tensor, "N 1"], bath: Bath, field: Field
    ) -> Motion:
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
        m = self._held(m._replace(velocities=m.velocities + half), masses)
        if self.name == "langevin":
            m = self._drift(m, 0.5 * self.dt, masses)
            m = self._rubbed(m, number, masses, bath)
            m = self._drift(m, 0.5 * self.dt, masses)
        elif self.name in ISOBARIC:
            m = self._drift(m, 0.5 * self.dt, masses)
            m = self._stretched(m, before, number, masses, bath)
            m = self._drift(m, 0.5 * self.dt, masses)
        else:
            m = self._drift(m, self.dt, masses)
        forces, virial = field(m.positions, m.cell)
        half = (0.5 * self.dt * ACCELERATION) * forces / masses
        m = m._replace(velocities=m.velocities + half, forces=forces, virial=virial)
        m = self._held(m, masses)
        if self.name == "nose-hoover":
            m = self._chained(m, masses, bath)
        elif self.name in ("velocity-rescaling", *ISOBARIC):
            m = self._rescaled(m, number, masses, bath)
        return m

    def _drift(self, m: Motion, dt: float, masses: Tensor) -> Motion:
        positions = m.positions + dt * m.velocities
        if self.rigid is None:
            return m._replace(positions=positions)
        along = self.rigid.bonds(m.positions, m.cell)
        back = self.rigid.onto(positions, along, self.free / masses, m.cell)
        velocities = m.velocities + back / dt
        return self._held(m._replace(positions=positions + back, velocities=velocities), masses)

    def _held(self, m: Motion, masses: Tensor) -> Motion:
        """Without the part of the velocities that would change a bond."""
        if self.rigid is None:
            return m
        mobility = self.free / masses
        velocities = self.rigid.tangent(m.velocities, m.positions, mobility, m.cell)
        return m._replace(velocities=velocities)

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
        rubbed = self._held(m._replace(velocities=velocities), masses)
        given = self.kinetic(rubbed.velocities, masses) - self.kinetic(m.velocities, masses)
        return rubbed._replace(heat=m.heat + given)

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
        kinetic = self.kinetic_tensor(before.velocities, masses)
        pressure = barostat.pressure(kinetic, before.virial, volume)
        surroundings = {
            "target": bath.pressure,
            "temperature": bath.temperature,
            "rate": bath.barostat_rate,
            "at_rest": self.at_rest.to(volume),
        }
        drawn = self._draws(volume, number)[1:]
        if self.name == "npt-anisotropic":
            normal = drawn.T.reshape(-1, 3, 3)
            strain = barostat.strain(volume, pressure, self.dt, noise=normal, **surroundings)
            return self._strained(m, strain)
        mean = pressure.diagonal(dim1=1, dim2=2).mean(1)
        scale = barostat.stretch(volume, mean, self.dt, noise=drawn[0], **surroundings)
        each = scale[self.system].unsqueeze(1)
        return m._replace(
            positions=m.positions * each,
            velocities=m.velocities / each,
            cell=m.cell * scale[:, None, None],
        )

    def _strained(self, m: Motion, strain: Tensor) -> Motion:
        """Cell and positions times exp(strain), velocities times its inverse; (S, 3, 3)."""
        change, back = torch.linalg.matrix_exp(torch.stack([strain, -strain]))
        return m._replace(
            positions=(m.positions.unsqueeze(1) @ change[self.system]).squeeze(1),
            velocities=(m.velocities.unsqueeze(1) @ back[self.system]).squeeze(1),
            cell=m.cell @ change,
        )

    def _draws(self, like: Tensor, number: int) -> Tensor:
        """(2, S) standard normal numbers: the thermostat's, then the barostat's; (10, S) where the
        barostat moves nine numbers."""
        rows = 10 if self.name == "npt-anisotropic" else 2
        return noise.normals((rows, len(self.degrees)), like, self.seed, number)

    def stored(self, m: Motion, bath: Bath) -> Float[Tensor, " S"]:
        """(S,) eV of the bath: with the particles' energy it is conserved, not in `ISOBARIC`."""
        if self.name != "nose-hoover":
            return -m.heat
        degrees = self.degrees.to(m.heat)
        return thermostats.chain_energy(m.chain, degrees, bath.thermostat_time, bath.temperature)
