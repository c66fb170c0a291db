"""Averages at equilibrium for other parameters than those that were sampled, and their gradients.

    <O> = sum_i w_i O(x_i),   w_i ~ exp(u_drawn(x_i) - u(x_i)),   u = (E + P V) / k_B T

R. W. Zwanzig, J. Chem. Phys. 22, 1420 (1954). Differentiated, the weights give the gradient of an
average without a step of dynamics in it: S. Thaler, J. Zavadlav, Nat. Commun. 12, 6884 (2021). P V
is there at constant pressure alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.constants import BOLTZMANN
from sfm.errors import InputError
from sfm.simulate.dynamics import barostat
from sfm.simulate.dynamics.ensembles import ISOBARIC
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.dynamics.simulator import Dynamics

WORN = 0.9  # of the samples, below which the source draws anew


def reduced_energy(simulator: Dynamics, state: Particles) -> Float[Tensor, " S"]:
    """(S,) u, without a unit, of every system, under the simulator's parameters; differentiable.

    Raises:
        InputError: an ensemble without a temperature.
    """
    if simulator.ensemble == "nve":
        raise InputError(
            f"{simulator.part}: ensemble=nve has no temperature; reweighting needs samples of a "
            "bath: langevin, velocity-rescaling, nose-hoover, npt"
        )
    energy = simulator.evaluate(state.systems, False)[0]
    bath = simulator.bath(dict(simulator.named_parameters()))
    if simulator.ensemble in ISOBARIC:
        energy = energy + bath.pressure * barostat.volume(state.cell)
    return energy / (BOLTZMANN * bath.temperature)


def weights(reduced: Float[Tensor, " T"], drawn: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """(T,) of sum 1, for samples with reduced energies (T,) that were drawn with others (T,).

    All are without unit.
    """
    return torch.softmax(drawn.detach() - reduced, 0)


def effective_size(weight: Float[Tensor, " T"]) -> Float[Tensor, ""]:
    """() number of equal samples that weights (T,) are worth, exp(-sum w ln w)."""
    return torch.exp(torch.special.entr(weight).sum())


class Reweighting:
    """States that were drawn with a simulator's parameters, for averages under its later ones.

    Args:
        simulator: as it is when the states are drawn; its parameters may change afterwards.
        states: of an equilibrated run, some correlation times apart; each of its systems counts as
            one sample.

    Raises:
        InputError: no state, or an ensemble without a temperature.
    """

    def __init__(self, simulator: Dynamics, states: Sequence[Particles]) -> None:
        if not states:
            raise InputError("reweighting: no states to average over")
        self.simulator, self.states = simulator, list(states)
        with torch.no_grad():
            self.drawn = self._reduced()

    def _reduced(self) -> Tensor:
        return torch.cat([reduced_energy(self.simulator, state) for state in self.states])

    def weights(self) -> Float[Tensor, " T"]:
        """(T,) of all samples, under the simulator's parameters as they are now; differentiable."""
        return weights(self._reduced(), self.drawn)

    def average(
        self, observable: Callable[[Particles], Float[Tensor, "S ..."]]
    ) -> Float[Tensor, " ..."]:
        """(...) the average of an observable (S, ...) of a state, in its unit; differentiable."""
        values = torch.cat([observable(state) for state in self.states])
        return torch.einsum("t,t...->...", self.weights().to(values), values)

    def slopes(
        self,
        observable: Callable[[Particles], Float[Tensor, "S ..."]],
        parameters: Sequence[Float[Tensor, " ..."]],
    ) -> tuple[Float[Tensor, " ..."], list[Float[Tensor, " ..."]]]:
        """An average (...) and its derivatives (..., *p) by parameters (*p) of the simulator.

        One forward pass, and one backward pass per number in `parameters`, however many numbers
        the average has: the product of a vector with the derivatives is differentiated by the
        vector. Both without a graph.

        Raises:
            InputError: a parameter on which the average does not depend.
        """
        mean = self.average(observable)
        along = torch.zeros_like(mean, requires_grad=True)
        products = torch.autograd.grad(
            mean, list(parameters), along, create_graph=True, allow_unused=True
        )
        slopes = []
        for parameter, product in zip(parameters, products, strict=True):
            if product is None:
                raise InputError(
                    "reweighting: the average does not depend on one of the parameters"
                )
            columns = [
                torch.autograd.grad(number, along, retain_graph=True)[0]
                for number in product.reshape(-1)
            ]
            slopes.append(torch.stack(columns, -1).reshape(*mean.shape, *parameter.shape))
        return mean.detach(), slopes

    def worn(self, share: float = WORN) -> bool:
        """Whether the samples are worth less than `share` of their number: time to draw anew."""
        with torch.no_grad():
            return float(effective_size(self.weights())) < share * len(self.drawn)
