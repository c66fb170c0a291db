"""Exact conditions on exchange and correlation, measured on any functional, trained or not.

    check(functional)  ->  [Condition(name, violation, where, ...), ...]

Semilocal exchange of a hybrid stands for the share 1 - a_x of the whole and is measured as such.
Pointwise functionals are tested at each point of a table of uniform and of inhomogeneous
densities, which is more than theory asks of the integrals (a *local* condition is sufficient, not
necessary); all others on integrals over model atoms on real grids.

References: Levy, Perdew, Phys. Rev. A 32, 2010 (1985) for scaling; Oliver, Perdew, Phys. Rev. A
20, 397 (1979) for spin scaling; Lieb, Oxford, Int. J. Quantum Chem. 19, 427 (1981); Perdew,
Ruzsinszky, Sun, Burke, J. Chem. Phys. 140, 18A533 (2014) and Pederson, Burke, J. Chem. Phys. 159,
214113 (2023) for the list and for local conditions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sfm_dft.xc.contract import Functional, XcEnergy
from sfm_dft.xc.density import GridDensity
from sfm_dft.xc.lda import SLATER, pw92_modified
from sfm_dft.xc.models import Model, atoms, far_pair, hydrogen, table
from sfm_dft.xc.reduced import reduced

LIEB_OXFORD_X = 1.804
"""Bound on the enhancement F_x of a closed shell that implies E_x >= 1.679 x -int n^(4/3) for any
polarisation through spin scaling: 2.273 / 2^(1/3). PBE and SCAN are built on it."""
LIEB_OXFORD_XC = 2.273
"""Bound on F_xc = e_xc / e_x^LDA of a closed shell: Lieb and Oxford's 1.679 over 0.7386."""


@dataclass(frozen=True)
class Condition:
    """How far one functional is from one exact condition.

    Attributes:
        name: the condition. violation: the largest one found, at least 0; relative to the energy
            named in the function that measures it, or hartree for the one-electron conditions.
        where: the density at which it was found, in words. tolerance: what rounding or the
            reference's own uncertainty explains.
        required: False for what good functionals are free to break and users should know.
    """

    name: str
    violation: float
    where: str
    tolerance: float
    required: bool = True

    @property
    def holds(self) -> bool:
        """Whether the condition is met within its tolerance."""
        return self.violation <= self.tolerance


def _evaluate(functional: Functional, model: Model, density: GridDensity | None = None) -> XcEnergy:
    """Energies per volume at each point of a pointwise functional, else integrals as (1,)."""
    with torch.no_grad():
        energy: XcEnergy = functional(model.density if density is None else density)
    if functional.pointwise:
        return energy
    return XcEnergy(*(model.integrate(part)[None] for part in energy))


def _uniform(functional: Functional, model: Model) -> XcEnergy:
    """The uniform gas's exchange and correlation as `_evaluate` gives a functional's.

    Exchange is the share of it that a functional with exact exchange leaves to the density.
    """
    point = reduced(model.density, "lda")
    exchange = point.exchange.energy(SLATER * point.exchange.root)
    exchange = exchange if model.density.closed_shell else 0.5 * exchange.sum(0)
    correlation = point.total.energy(pw92_modified(point.total, point.spins))
    share = 1.0 - functional.exact_exchange
    parts = (share * exchange, correlation)
    if functional.pointwise:
        return XcEnergy(*parts)
    return XcEnergy(*(model.integrate(part)[None] for part in parts))


def _models(functional: Functional, *, closed: bool = False) -> list[Model]:
    models = [m for m in atoms(functional) if m.density.closed_shell or not closed]
    if not functional.pointwise:
        return models
    # far out, where coordinates scaled by 1/2 would cross the floor of counted densities
    return [table(functional, closed=closed), *(m.above(1e-9) for m in models)]


def _worst(
    name: str, tolerance: float, violations_of: list[tuple[Model, Tensor]], *, required: bool = True
) -> Condition:
    """The largest of the violations (K,) on each model."""
    largest, where = 0.0, "nowhere"
    for model, violations in violations_of:
        values = torch.nan_to_num(violations, nan=math.inf)
        index = int(values.argmax())
        if float(values[index]) > largest:
            largest = float(values[index])
            where = model.describe(index) if len(values) > 1 else model.name
    return Condition(name, largest, where, tolerance, required)


def uniform_gas_exchange(functional: Functional) -> Condition:
    """e_x of the uniform gas is Slater's at any density and polarisation; relative to it.

    Of pointwise functionals only: a uniform gas has no atoms whose grid it could be known on.
    """
    model = table(functional, uniform=True)
    exact = _uniform(functional, model).exchange
    error = (_evaluate(functional, model).exchange - exact).abs() / _positive(exact)
    return _worst("uniform gas, exchange", 1e-10, [(model, error)])


def uniform_gas_correlation(functional: Functional) -> Condition:
    """e_c of the uniform gas is PW92's, unpolarised and polarised, rs from 0.01 to 100; relative.

    The tolerance is what the fits to Ceperley and Alder's Monte Carlo (PW92, VWN) differ by.
    """
    model = table(functional, uniform=True)
    exact = _uniform(functional, model).correlation
    error = (_evaluate(functional, model).correlation - exact).abs() / exact.abs()
    return _worst("uniform gas, correlation", 0.03, [(model, error)])


def spin_scaling(functional: Functional) -> Condition:
    """E_x[up, down] = (E_x[2 up] + E_x[2 down]) / 2, relative to the uniform gas's exchange."""
    violations = []
    for model in _models(functional):
        if model.density.closed_shell:
            continue
        whole = _evaluate(functional, model).exchange
        halves = [_evaluate(functional, model, model.density.spin(i)).exchange for i in (0, 1)]
        scale = _positive(_uniform(functional, model).exchange)
        violations.append((model, (whole - 0.5 * (halves[0] + halves[1])).abs() / scale))
    return _worst("exchange, spin scaling", 1e-10, violations)


def exchange_scaling(functional: Functional) -> Condition:
    """E_x[n_l] = l E_x[n] for n_l(r) = l^3 n(l r); relative to the uniform gas's exchange."""
    violations = [(m, off.abs()) for m, off in _scaling(functional, "exchange", (0.5, 2.0, 5.0))]
    return _worst("exchange, uniform scaling", 1e-10, violations)


def correlation_scaling(functional: Functional) -> Condition:
    """E_c[n_l] >= l E_c[n] for l > 1; relative to l times the uniform gas's correlation."""
    violations = list(_scaling(functional, "correlation", (1.1, 2.0, 10.0)))
    return _worst("correlation, scaling inequality", 1e-10, violations)


def _scaling(
    functional: Functional, part: str, factors: Iterable[float]
) -> Iterator[tuple[Model, Tensor]]:
    """(l E[n] - E[n_l]) / (l |E of the uniform gas|) of one part of the energy."""
    for model in _models(functional):
        energy = getattr(_evaluate(functional, model), part)
        scale = _positive(getattr(_uniform(functional, model), part))
        for factor in factors:
            scaled = getattr(_evaluate(functional, model.scaled(factor)), part)
            scaled = _undo(functional, scaled, factor)
            yield model, (factor * energy - scaled) / (factor * scale)


def lieb_oxford_exchange(functional: Functional) -> Condition:
    """F_x <= 1.804 of a closed shell; the excess of F_x."""
    violations = []
    for model in _models(functional, closed=True):
        exact = _uniform(functional, model).exchange
        ratio = _evaluate(functional, model).exchange / -_positive(exact)
        violations.append((model, ratio - LIEB_OXFORD_X))
    return _worst("Lieb-Oxford, F_x <= 1.804", 1e-10, violations)


def lieb_oxford(functional: Functional) -> Condition:
    """F_xc <= 2.273 of a closed shell; the excess of F_xc. Exact exchange obeys it by itself."""
    share = 1.0 - functional.exact_exchange
    violations = []
    for model in _models(functional, closed=True):
        energy = _evaluate(functional, model)
        exact = _uniform(functional, model).exchange
        if share == 0.0:
            continue
        ratio = (energy.exchange + share * energy.correlation) / -_positive(exact)
        violations.append((model, ratio - LIEB_OXFORD_XC))
    return _worst("Lieb-Oxford, F_xc <= 2.273", 1e-10, violations)


def non_positive_correlation(functional: Functional) -> Condition:
    """E_c <= 0, relative to the uniform gas's correlation."""
    violations = []
    for model in _models(functional):
        scale = _positive(_uniform(functional, model).correlation)
        violations.append((model, _evaluate(functional, model).correlation / scale))
    return _worst("correlation, not positive", 1e-10, violations)


def self_correlation(functional: Functional) -> Condition:
    """|E_c| of the hydrogen atom, which has one electron and no correlation; hartree."""
    model, _ = hydrogen(functional)
    energy = _total(functional, model).correlation.abs()
    return _worst("one electron, self-correlation", 1e-6, [(model, energy[None])], required=False)


def self_exchange(functional: Functional) -> Condition:
    """|E_x + E_Hartree| of the hydrogen atom, exact exchange's share included; hartree."""
    model, hartree = hydrogen(functional)
    share = 1.0 - functional.exact_exchange
    error = (_total(functional, model).exchange + share * hartree).abs()
    return _worst("one electron, self-exchange", 1e-6, [(model, error[None])], required=False)


def size_consistency(functional: Functional) -> Condition:
    """E_xc of two helium-like atoms 40 bohr apart is twice that of one; relative to it.

    The tolerance is that of a model atom's grid, which sees the other's tail.
    """
    one, pair = far_pair(functional)
    single, double = (torch.stack(_total(functional, model)).sum() for model in (one, pair))
    error = (double - 2.0 * single).abs() / _positive(single)
    return _worst("size consistency", 1e-8, [(pair, error[None])])


def _total(functional: Functional, model: Model) -> XcEnergy:
    with torch.no_grad():
        energy = functional(model.density)
    return XcEnergy(*(model.integrate(part) for part in energy))


def _undo(functional: Functional, energy: Tensor, factor: float) -> Tensor:
    """Energy per volume of scaled coordinates brought back to the old volume; integrals as is."""
    return energy / factor**3 if functional.pointwise else energy


def _positive(energy: Tensor) -> Tensor:
    """|energy|, 1 where it is zero: pure exact exchange, and empty points."""
    return torch.where(energy == 0.0, 1.0, energy.abs())


POINTWISE: tuple[Callable[[Functional], Condition], ...] = (
    uniform_gas_exchange,
    uniform_gas_correlation,
)
"""Conditions that only a functional with ``pointwise`` can be asked for."""

GENERAL: tuple[Callable[[Functional], Condition], ...] = (
    spin_scaling,
    exchange_scaling,
    correlation_scaling,
    lieb_oxford_exchange,
    lieb_oxford,
    non_positive_correlation,
    size_consistency,
    self_correlation,
    self_exchange,
)


def check(functional: Functional) -> list[Condition]:
    """Every condition that applies to the functional, in a fixed order; about 0.1 s each."""
    chosen = POINTWISE + GENERAL if functional.pointwise else GENERAL
    return [condition(functional) for condition in chosen]
