"""The one-dimensional Kohn-Sham simulator of the dft domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.progress import report
from sfm.quantity import Quantity
from sfm.simulate import Parameter, Setting, Simulator, Trajectory
from sfm_dft.ladder import grid, mixing
from sfm_dft.ladder import quantities as q
from sfm_dft.ladder.fixed_point import attached
from sfm_dft.ladder.lda import ExponentialLDA
from sfm_dft.ladder.line_state import LineState, flat_molecules, flat_rows, molecules_of
from sfm_dft.ladder.molecules import NAMES, Molecules, build
from sfm_dft.ladder.observables import line_observables
from sfm_dft.ladder.orbitals import Orbitals, Response
from sfm_dft.ladder.problem import Problem


class KohnSham1D(Simulator):
    """Restricted Kohn-Sham theory of molecules on a line, many at a time.

        (-1/2 d^2/dx^2 + v_ext + v_H[n] + v_xc[n]) u_i = e_i u_i,   n = sum_i f_i u_i^2,
        v_ext(x) = -sum_A Z_A w(x - R_A),  v_H(x) = int w(x - x') n(x') dx',  v_xc = dE_xc / dn,
        w(x) = A exp(-|x| / L)  (exponential)   or   A / sqrt(x^2 + L^2)  (soft-coulomb)

    on a uniform grid with finite differences of order 2, 4 or 6 and zero at both ends; hartree and
    bohr. Levels hold two electrons; an odd one has its level to itself, without spin polarisation.
    One step is one cycle with Anderson mixing, or `cycles_per_step`; where the field is
    self-consistent nothing changes any more.

    The closure is the exchange-correlation functional: a module that maps the density (B, n) and
    the grid spacing to the energy per length (B, n), hartree per bohr. Without one it is the
    published LDA of the exponential interaction. Soft Coulomb has none here: it needs a closure.

    Derivatives with respect to positions, interaction and the closure's weights: the energy by the
    envelope theorem, without any solve; components, density and gap by one linear response of the
    self-consistent density (GMRES). Eigenvectors are never differentiated. First derivatives only;
    highest occupied and lowest empty level must differ.

    A molecule that used up `max_cycles` has the energy NaN, `scf_converged` 0, and a warning;
    `solve` raises. Before that, energies are those of the latest orbitals, without gradient.

    Good values: amplitude 1.071295, length 2.385345 (exponential, 1 / kappa), points 513 and
    dx 0.08; soft Coulomb: both 1. Limits: float64, first derivatives, nuclei at least 2 bohr
    (better 10) away from the ends of the grid.

    References: Baker et al., Phys. Rev. B 91, 235141 (2015); Li et al., Phys. Rev. Lett. 126,
    036401 (2021); Anderson, J. ACM 12, 547 (1965).

    Raises:
        InputError: as the base class; soft Coulomb without a closure; a coarse dtype.
    """

    part: ClassVar[str] = "dft/kohn-sham-1d"
    summary: ClassVar[str] = "Kohn-Sham theory on a line, where exact answers are known"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "amplitude", "hartree", grid.AMPLITUDE, 0.0, 10.0, "A, strength of the interaction"
        ),
        Parameter(
            "length",
            "bohr",
            grid.RANGE,
            0.1,
            20.0,
            "L, range of the exponential (1 / kappa) or softening of soft Coulomb",
        ),
        Parameter(
            "separation",
            "bohr",
            1.52,
            0.0,
            30.0,
            "R of the named molecule; a sample brings its own",
        ),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("molecule", "H2", NAMES, summary="what `state` makes without a sample"),
        Setting("interaction", "exponential", tuple(grid.INTERACTIONS), summary="w(x)"),
        Setting("points", 513, summary="grid points"),
        Setting("dx", 0.08, unit="bohr", summary="grid spacing"),
        Setting("difference_order", 4, tuple(grid.STENCILS), summary="of d^2/dx^2"),
        Setting("cycles_per_step", 1, summary="cycles that make one step"),
        Setting("max_cycles", 100, summary="give up after so many cycles"),
        Setting("tolerance", 1e-9, summary="largest residual when converged, electrons"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = q.ALL
    time_unit: ClassVar[str] = "1"
    closure_quantity: ClassVar[str | None] = "xc_energy_1d"
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1103/PhysRevB.91.235141",
        "doi:10.1103/PhysRevLett.126.036401",
        "doi:10.1145/321296.321305",
    )
    default_steps: ClassVar[int] = 100
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    batched: ClassVar[bool] = True

    amplitude: Tensor
    length: Tensor
    separation: Tensor
    molecule: str
    interaction: str
    points: int
    dx: float
    difference_order: int
    cycles_per_step: int
    max_cycles: int
    tolerance: float
    x: Tensor
    bands: Tensor

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.dtype != torch.float64:
            raise InputError(f"{self.part}: dtype {self.dtype} is too coarse; use torch.float64")
        if self.closure is None and self.interaction != "exponential":
            raise InputError(
                f"{self.part}: there is no LDA for {self.interaction}; give a closure, or set "
                "interaction=exponential"
            )
        if self.points < 16 or self.dx <= 0:
            raise InputError(f"{self.part}: points={self.points}, dx={self.dx}: need >= 16 and > 0")
        needed = getattr(self.closure, "interaction", self.interaction)
        if needed != self.interaction:
            raise InputError(
                f"{self.part}: this closure is for the {needed} interaction, not {self.interaction}"
            )
        self.lda = ExponentialLDA()
        self.register_buffer("x", grid.points(self.points, self.dx))
        self.register_buffer(
            "bands", grid.kinetic_bands(self.points, self.dx, self.difference_order)
        )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[KohnSham1D, LineState]:
        """H2 on a short coarse grid, tightly converged in the first step."""
        small = {"points": 61, "dx": 0.3, "tolerance": 1e-12, "cycles_per_step": 40}
        simulator = cls(**{**small, **values})
        return simulator, simulator.state()

    # -------------------------------------------------------------- states

    def state(self, sample: Sample | None = None) -> LineState:
        """The named molecule, or the nuclei of a sample along x, as non-interacting electrons.

        A sample's positions are in angstrom, as everywhere; `charge` is among its conditions.

        Raises:
            InputError: periodic, nuclei off the x axis, no electron, or nuclei near the ends.
        """
        if sample is None:
            return self.start(build(self.molecule, self.separation))
        return self.start(molecules_of(sample, self.part))

    def start(self, molecules: Molecules) -> LineState:
        """A state of one molecule or a batch; the first density ignores repulsion.

        Raises:
            InputError: no electrons, more than the grid holds, or nuclei within 2 bohr of an end.
        """
        r, z = molecules.positions.detach(), molecules.charges
        edge = float(self.x[-1]) - 2.0
        if bool(((r.abs() > edge) & (z > 0)).any()):
            raise InputError(
                f"{self.part}: a nucleus at {float(r.abs().max()):.2f} bohr is too close to the end"
                f" of the grid at {edge + 2.0:.2f}; set points or dx higher"
            )
        if bool((molecules.electrons < 1).any()) or int(molecules.electrons.max()) > self.points:
            raise InputError(f"{self.part}: needs 1 to {self.points} electrons")
        with torch.no_grad():
            problem = self.problem(flat_molecules(molecules))
            density = problem.orbitals(problem.external).density
        shape = molecules.electrons.shape
        begun = mixing.begin(density.reshape(*shape, -1))
        return LineState(molecules.positions, z, molecules.electrons, begun)

    def problem(self, molecules: Molecules) -> Problem:
        """The energy functional of a batch of molecules, with the present parameters."""
        return Problem(
            molecules=molecules,
            x=self.x,
            dx=self.dx,
            bands=self.bands,
            interaction=self.interaction,
            amplitude=self.amplitude,
            length=self.length,
            functional=self.lda if self.closure is None else self.closure,
        )

    def _open(self, state: LineState) -> tuple[Problem, mixing.Field]:
        molecules = Molecules(state.positions, state.charges, state.electrons)
        flat = {name: flat_rows(value, state) for name, value in vars(state.field).items()}
        return self.problem(flat_molecules(molecules)), mixing.Field(**flat)

    def forward(self, state: LineState, steps: int = 1) -> LineState:
        """`steps` times `cycles_per_step` cycles for what is not self-consistent yet."""
        problem, field = self._open(state)
        mixed = mixing.iterate(
            problem,
            field,
            steps * self.cycles_per_step,
            tolerance=self.tolerance,
            most=self.max_cycles,
        )
        shape = state.electrons.shape
        closed = {n: v.reshape(shape + v.shape[1:]) for n, v in vars(mixed).items()}
        return replace(state, field=mixing.Field(**closed))

    def solve(
        self, molecules: Molecules | None = None, *, guess: Float[Tensor, "*batch n"] | None = None
    ) -> LineState:
        """The self-consistent state of the named molecule or of a batch.

        Args:
            guess: (..., n) first density; without it the one of non-interacting electrons.

        Raises:
            RunError: some molecule is not self-consistent within `max_cycles`.
        """
        state = self.state() if molecules is None else self.start(molecules)
        if guess is not None:
            state = replace(state, field=mixing.begin(guess.detach()))
        end: LineState = self(state, -(-self.max_cycles // self.cycles_per_step))
        if not bool(end.converged.all()):
            raise RunError(self.warnings(end)[0])
        return end

    # -------------------------------------------------------------- observables

    def observe(self, state: LineState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energies (...) in hartree, density (..., n), gap, and how well it converged.

        Energies and gap are NaN where `max_cycles` are used up without convergence.
        """
        problem, field, orbitals, potential = self.latest(state, extra=1)
        residual = (orbitals.density - field.density.detach()).abs().sum(-1) * self.dx
        done = field.converged & (residual < 10.0 * self.tolerance)
        if torch.is_grad_enabled() and bool(done.all()):
            values = self._linked(problem, orbitals, potential)
        else:
            with torch.no_grad():
                kinetic = self._kinetic(orbitals, potential)
                values = line_observables(problem, orbitals, orbitals.density, kinetic)
        failed = ~done & (field.cycle >= self.max_cycles)
        values = {
            name: value if name == "density_1d" else value.masked_fill(failed, torch.nan)
            for name, value in values.items()
        }
        values["scf_residual_1d"] = residual
        values["scf_cycles"] = field.cycle
        values["scf_converged"] = done.to(torch.int64)
        shape = state.electrons.shape
        return {name: value.reshape(shape + value.shape[1:]) for name, value in values.items()}

    def energy(self, state: LineState) -> Float[Tensor, "*batch"]:
        """(...) total energy with its gradient by the envelope theorem: no solve, for training.

        NaN where not self-consistent.
        """
        problem, field, orbitals, potential = self.latest(state)
        return self._energy(problem, field, orbitals, potential).reshape(state.electrons.shape)

    def density(self, state: LineState) -> Float[Tensor, "*batch n"]:
        """(..., n) the self-consistent density with its gradient by implicit differentiation."""
        problem, _, orbitals, potential = self.latest(state)
        linked = self._attach(problem, orbitals, potential)
        return linked.reshape(*state.electrons.shape, -1)

    def energy_and_density(
        self, state: LineState
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch n"]]:
        """`energy` and `density` at the price of one."""
        problem, field, orbitals, potential = self.latest(state)
        energy = self._energy(problem, field, orbitals, potential)
        density = self._attach(problem, orbitals, potential)
        shape = state.electrons.shape
        return energy.reshape(shape), density.reshape(*shape, -1)

    def latest(
        self, state: LineState, extra: int = 0
    ) -> tuple[Problem, mixing.Field, Orbitals, Float[Tensor, "B n"]]:
        """Problem, field, and the orbitals of its density with their potential, without graph."""
        problem, field = self._open(state)  # its nuclei keep their graph
        with torch.no_grad():
            potential = problem.potential(field.density, problem.repulsion())
            orbitals = problem.orbitals(potential, extra)
        return problem, field, orbitals, potential

    def _kinetic(self, orbitals: Orbitals, potential: Tensor) -> Tensor:
        band = (orbitals.levels * orbitals.filling).sum(-1)
        return band - (potential * orbitals.density).sum(-1) * self.dx

    def _energy(
        self, problem: Problem, field: mixing.Field, orbitals: Orbitals, potential: Tensor
    ) -> Tensor:
        parts = problem.components(orbitals.density, problem.repulsion())
        total = self._kinetic(orbitals, potential) + sum(parts.values())
        return total.masked_fill(~field.converged, torch.nan)

    def _attach(self, problem: Problem, orbitals: Orbitals, potential: Tensor) -> Tensor:
        """The density (B, n) of the orbitals, with its graph if it depends on anything."""
        density = orbitals.density
        repulsion = problem.repulsion()
        # with the density held fixed: what weights, positions and interaction do directly
        explicit = problem.potential(density, repulsion, graph=True)
        if not explicit.requires_grad:
            return density
        n = density.clone().requires_grad_()
        implicit = problem.potential(n, repulsion.detach(), graph=True)
        kinetic = grid.kinetic_matrix(self.points, self.dx, self.difference_order).to(
            density.device
        )
        response: list[Response] = []

        def chi(w: Tensor) -> Tensor:
            if not response:
                response.append(Response(kinetic, potential, orbitals))
            return response[0](w)

        def kernel(w: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(implicit, n, w, retain_graph=True)
            return product

        return attached(explicit, density, chi, kernel)

    def _linked(self, problem: Problem, orbitals: Orbitals, potential: Tensor) -> dict[str, Tensor]:
        out, kinetic = orbitals.density, self._kinetic(orbitals, potential)
        density, repulsion = self._attach(problem, orbitals, potential), problem.repulsion()
        if not density.requires_grad:
            return line_observables(problem, orbitals, density, kinetic)
        full = problem.potential(density, repulsion, graph=True)
        # dT_s = -int v_s dn, and de_i = <i|dv_s|i> with the orbital held fixed
        moved = kinetic - (potential * (density - out)).sum(-1) * self.dx
        change = torch.einsum("bnk,bn->bk", orbitals.vectors**2, full - full.detach())
        shifted = replace(orbitals, levels=orbitals.levels + change)
        values = line_observables(problem, shifted, density, moved)
        # the envelope theorem: the energy needs no graph through the density
        values["energy_1d"] = kinetic + sum(problem.components(out, repulsion).values())
        return values

    def converged(self, state: LineState) -> bool:
        return bool(state.converged.all())

    def warnings(self, state: LineState) -> tuple[str, ...]:
        bad = int((~state.converged).sum())
        if not bad:
            return ()
        worst = float(state.field.residual[~state.converged].max())
        return (
            f"{self.part}: {bad} of {max(1, state.electrons.numel())} not self-consistent after "
            f"{int(state.field.cycle.max())} cycles (residual {worst:.1e} electrons, wanted "
            f"{self.tolerance:.0e}); try more max_cycles",
        )

    def run(self, state: LineState, steps: int, *, every: int | None = None) -> Trajectory:
        """As the base class, one record per cycle; stops when all is self-consistent.

        Raises:
            InputError: `steps` is negative or `every` is not positive.
        """
        every = 1 if every is None else every
        self._check_run(steps, every)
        states, done = [state], 0
        while done < steps and (
            len(states) < 3 or not bool((state.converged | self._spent(state)).all())
        ):
            stride = min(every, steps - done)
            state, done = self(state, stride), done + stride
            states.append(state)
            report(f"{self.part}: cycle", done)
        return self._recorded(states, [self.observe(s) for s in states])

    def _spent(self, state: LineState) -> Tensor:
        return state.field.cycle >= self.max_cycles

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Density and potential of the last state."""
        from sfm_dft.ladder.figures import plot_state

        plot_state(self, trajectory.states[-1], path)

    def potential(self, state: LineState) -> Float[Tensor, "*batch n"]:
        """(..., n) the Kohn-Sham potential of the state's density, hartree; no graph."""
        problem, field = self._open(state)
        with torch.no_grad():
            v = problem.potential(field.density, problem.repulsion())
        return v.reshape(*state.electrons.shape, -1)
