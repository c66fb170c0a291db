"""`Hamiltonian`: systems with an energy function, and symplectic steps.

States, rates and times in the system's own units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.simulate import Setting
from sfm_dynamics.quantities import HAMILTONIAN, STATE
from sfm_dynamics.simulators import symplectic
from sfm_dynamics.simulators.ode import METHODS, Field, Ode, settings
from sfm_dynamics.simulators.open_system import OpenSystem, forces_of
from sfm_dynamics.simulators.slope import slope
from sfm_dynamics.simulators.system import State, Values

SYMPLECTIC = tuple(symplectic.COMPOSITIONS)


def hamiltonian_settings(
    dt: float, *, method: str = "leapfrog", unit: str = "1"
) -> tuple[Setting, ...]:
    """The settings of a Hamiltonian system; `leapfrog` and `yoshida4` need a separable one."""
    return settings(dt, unit, method=method, methods=(*SYMPLECTIC, *METHODS))


class Hamiltonian(Ode):
    """dq/dt = dH/dp, dp/dt = -dH/dq with H = the system's energy + the closure's.

    A state is (q_1 ... q_n, p_1 ... p_n). The closure is a module from states (..., 2n) to energies
    (...); its derivatives are taken here, so whatever it says is conserved and reversible. For
    friction, driving and control it is an `OpenSystem` of `sfm_dynamics.simulators.open_system`,
    which leapfrog and yoshida4 do not take: their kicks know no velocity.

    Class attributes:
        separable: whether H = T(p) + V(q), which leapfrog and yoshida4 need.

    Sources: W. R. Hamilton, Philos. Trans. R. Soc. 125, 95 (1835); S. Greydanus et al. (2019,
    arXiv:1906.01563) for learned energies.
    """

    closure_quantity: ClassVar[str | None] = "hamiltonian"
    observables: ClassVar[tuple[Quantity, ...]] = (STATE, HAMILTONIAN)
    settings_spec: ClassVar[tuple[Setting, ...]] = hamiltonian_settings(0.05)
    order: ClassVar[tuple[str, int] | None] = ("dt", 2)
    separable: ClassVar[bool] = True

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.method in SYMPLECTIC and not self.separable:
            raise InputError(
                f"{self.part}: method={self.method} needs H = T(p) + V(q); use implicit-midpoint "
                "or gauss4, which are symplectic for any H"
            )

    def energy(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states"]:
        """H (...) at states (..., 2n), with parameters by name; zero if there is no known term."""
        return x.new_zeros(x.shape[:-1])

    def total(
        self, p: Values | None = None, weights: Values | None = None
    ) -> Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states"]]:
        """H with the closure's part, as a function of the state; arguments are those of `field`."""
        p = self.values() if p is None else p
        correction = self.bound_closure(weights)
        if correction is None:
            return lambda x: self.energy(x, p)
        return lambda x: self.energy(x, p) + correction(x).reshape(x.shape[:-1])

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        return turned(slope(lambda y: self.energy(y, p), x))

    def field(self, p: Values | None = None, weights: Values | None = None) -> Field:
        total = self.total(p, weights)
        forces = forces_of(self.closure, weights)
        if forces is None:
            return lambda x: turned(slope(total, x))

        def rates(x: Tensor) -> Tensor:
            by_q, velocity = slope(total, x).chunk(2, -1)
            return torch.cat((velocity, forces(x, velocity) - by_q), -1)

        return rates

    def observe(self, state: State) -> dict[str, Shaped[Tensor, " ..."]]:
        """The state (..., 2n) and H (...)."""
        return {"state": state.values, "hamiltonian": self.total()(state.values)}

    def stepper(self, field: Field, span: float) -> Field:
        if self.method not in SYMPLECTIC:
            return super().stepper(field, span)
        if isinstance(self.closure, OpenSystem):
            raise InputError(
                f"{self.part}: method={self.method} knows no friction and no driving forces; use "
                "rk4, dopri5 or implicit-midpoint"
            )

        def kick(q: Tensor, p: Tensor) -> Tensor:
            return -field(torch.cat((q, p), -1)).chunk(2, -1)[1]

        def drift(q: Tensor, p: Tensor) -> Tensor:
            return field(torch.cat((q, p), -1)).chunk(2, -1)[0]

        def advance(x: Tensor) -> Tensor:
            q, p = x.chunk(2, -1)
            return torch.cat(symplectic.step(self.method, kick, drift, q, p, span), -1)

        return advance


def turned(gradient: Float[Tensor, "*states d"]) -> Float[Tensor, "*states d"]:
    """(dH/dq, dH/dp) -> (dH/dp, -dH/dq), both (..., 2n)."""
    by_q, by_p = gradient.chunk(2, -1)
    return torch.cat((by_p, -by_q), -1)
