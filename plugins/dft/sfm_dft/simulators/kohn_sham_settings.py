"""What may be set in the Kohn-Sham simulator, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from sfm.errors import InputError
from sfm.quantity import ENERGY, FORCES, FREQUENCIES, Quantity
from sfm.simulate import Parameter, Setting, Simulator
from sfm.simulate.dispersion import PARAMETERS
from sfm_dft import quantities as q
from sfm_dft.basis.library import INTEGRALS
from sfm_dft.scf.guesses import GUESSES
from sfm_dft.scf.solver import SOLVERS, Solver
from sfm_dft.simulators.functional_names import find_functional
from sfm_dft.xc import FUNCTIONALS
from sfm_dft.xc.contract import Functional

LOWEST = {
    "cycles_per_step": 1,
    "max_cycles": 1,
    "tolerance": 1e-14,  # rounding ends what can be asked for
    "level_shift": 0.0,
    "smearing": 0.0,
}


class KohnShamSettings(Simulator):
    """The parameters, settings and observables of `KohnSham`, whose docstring explains them.

    Raises:
        InputError: as the base class; a dtype below float64; a setting out of range; a functional
            that nothing is called; D3 without parameters for it; `stability` with `smearing`; a
            closure whose `base` is another functional than this one.
    """

    part: ClassVar[str] = "dft/kohn-sham"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("exchange_scale", "1", 1.0, 0.0, 2.0, "a, factor of the exchange energy"),
        Parameter("correlation_scale", "1", 1.0, 0.0, 2.0, "c, factor of the correlation energy"),
        Parameter("field_x", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along x"),
        Parameter("field_y", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along y"),
        Parameter("field_z", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along z"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "functional",
            "LDA",
            tuple(FUNCTIONALS),
            others="a learned one (bundled, folder or owner/name)",
            summary="base functional",
        ),
        Setting("basis", "def2-svp", summary="Gaussian basis, by PySCF's name"),
        Setting("dispersion", "none", ("none", "d3"), summary="D3(BJ) of the base functional"),
        Setting("spin", "auto", ("auto", "unrestricted"), summary="auto: by unpaired electrons"),
        Setting("coulomb", "fitted", ("fitted", "exact"), summary="density fitting or 4-centre"),
        Setting("grid_level", 3, tuple(range(10)), summary="Becke's grid, 0 coarse to 9 fine"),
        Setting("grid_pruning", "nwchem", ("nwchem", "none"), summary="fewer points near nuclei"),
        Setting("integrals", "auto", INTEGRALS, summary="auto: libcint on the CPU, else torch"),
        Setting("forces", False, (False, True), summary="observe forces too; costs about an SCF"),
        Setting("polarizability", False, (False, True), summary="observe it too; three responses"),
        Setting("vibrations", False, (False, True), summary="observe Hessian, frequencies, IR too"),
        Setting("guess", "minao", summary="first density: minao, atoms, core, or a model's name"),
        Setting("cycles_per_step", 1, summary="cycles that make one step"),
        Setting("max_cycles", 60, summary="give up after so many cycles"),
        Setting("tolerance", 1e-8, unit="hartree", summary="largest residual when converged"),
        Setting("solver", "auto", SOLVERS, summary="auto: DIIS, and second order where it fails"),
        Setting("stability", False, (False, True), summary="leave saddle points for minima"),
        Setting("level_shift", 0.0, unit="hartree", summary="raises empty levels; for small gaps"),
        Setting("smearing", 0.0, unit="hartree", summary="kT of fractional occupation; 0: none"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FORCES,
        q.KINETIC_ENERGY,
        q.EXTERNAL_ENERGY,
        q.HARTREE_ENERGY,
        q.XC_ENERGY,
        q.NUCLEAR_ENERGY,
        q.DISPERSION_ENERGY,
        q.DIPOLE,
        q.HOMO,
        q.LUMO,
        q.SPIN_SQUARED,
        q.SCF_RESIDUAL,
        q.POLARIZABILITY,
        q.POLARIZABILITY_TENSOR,
        q.HESSIAN,
        FREQUENCIES,
        q.IR_INTENSITIES,
    )

    exchange_scale: Tensor
    correlation_scale: Tensor
    field_x: Tensor
    field_y: Tensor
    field_z: Tensor
    functional: str
    basis: Any
    dispersion: str
    spin: str
    coulomb: str
    grid_level: int
    grid_pruning: str
    integrals: str
    forces: bool
    polarizability: bool
    vibrations: bool
    guess: str
    cycles_per_step: int
    max_cycles: int
    tolerance: float
    solver: str
    stability: bool
    level_shift: float
    smearing: float

    def __init__(self, **values: object) -> None:
        super().__init__(**values)  # type: ignore[arg-type]
        if self.dtype != torch.float64:
            raise InputError(f"{self.part}: dtype {self.dtype} is too coarse; use torch.float64")
        for name, lowest in LOWEST.items():
            if not getattr(self, name) >= lowest:
                raise InputError(f"{self.part}: {name}={getattr(self, name)}: need >= {lowest:g}")
        if not isinstance(self.guess, str | Path):
            raise InputError(
                f"{self.part}: guess={self.guess!r} is neither {', '.join(GUESSES)} nor a model's "
                "name"
            )
        if self.stability and self.smearing > 0.0:
            raise InputError(
                f"{self.part}: stability is that of whole electrons; leave it or smearing out"
            )
        base = getattr(self.closure, "base", self.functional)
        if isinstance(base, str) and base != self.functional:
            raise InputError(
                f"{self.part}: this closure corrects {base}, not {self.functional}, which would "
                f"count the correction twice; set functional={base} or leave the closure out"
            )
        self._base = find_functional(self.functional)
        if self.dispersion == "d3" and self.functional not in PARAMETERS:
            raise InputError(
                f"{self.part}: D3 dispersion has no parameters for {self.functional}; it goes with "
                f"{', '.join(PARAMETERS)}"
            )

    @property
    def on_grid(self) -> list[Functional]:
        """The functionals that read the density on the grid: the base, and a closure that does."""
        return [f for f in (self._base, self.closure) if isinstance(f, Functional)]

    @property
    def scf_solver(self) -> Solver:
        """How self-consistency is looked for."""
        return Solver(
            self.solver,
            self.max_cycles,
            self.tolerance,
            self.level_shift,
            self.smearing,
            self.stability,
        )
