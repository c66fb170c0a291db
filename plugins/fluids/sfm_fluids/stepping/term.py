"""The nonlinear term of u' = L u + N(u, t), with the tensors that it depends on.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Inexact
from torch import Tensor

from sfm_fluids.stepping.tableau import Totals

Pull = Callable[[Inexact[Tensor, "*shape"], Totals], Inexact[Tensor, "*shape"]]


@dataclass(frozen=True)
class Term:
    """N(u, t), stated so that a step can be redone and differentiated without a graph.

    Attributes:
        function: (u, t, *tensors) -> N, of the shape of u; differentiable by autograd, pure. Its
            only tensors that may need a gradient are its arguments.
        tensors: what N depends on besides u and t.
        held: (u at the start of the step, number of the step, *tensors) -> a part of N that is
            kept through the step: white noise, an expensive closure. None for no such part.
        linearise: (u, t, *tensors) -> (N, pull), a faster way to N and its adjoint, run without
            autograd; `pull(grad of N, totals)` adds the tensors' gradients to `totals` in place
            (None where none is wanted) and returns u's. None: autograd makes it.
        fast: (u, t, *tensors) -> N without autograd; None: `function`.
        pull: (u, t, *tensors) -> the second result of `linearise` alone, where N is not needed;
            None: `linearise`.
        kept: u -> bytes that the adjoint made by `linearise` holds; None or 0 if not known.
        fused: (u, stage, t, weight, users, mine, pulled, *tensors) -> (next stage, pull) without
            autograd: adds weight N(stage) to the accumulators `users` of `stacked.Work` and returns
            u + mine, with the adjoint of N if `pulled`, pull(grad, totals) or pull(grad, totals,
            weight, users, total), which adds weight times what it returns to `users` and what it
            returns to `total`; or None where it cannot. None: never.
        pairs: whether `fast`, `fused`, `linearise`, `pull` and `kept` take (and give) the real
            view (..., 2) of complex coefficients, and gradients of it.
    """

    function: Callable[..., Tensor]
    tensors: Sequence[Tensor] = ()
    held: Callable[..., Tensor] | None = None
    linearise: Callable[..., tuple[Tensor, Pull]] | None = None
    fast: Callable[..., Tensor] | None = None
    pull: Callable[..., Pull] | None = None
    kept: Callable[[Tensor], int] | None = None
    fused: Callable[..., tuple[Tensor, Callable[..., Tensor] | None] | None] | None = None
    pairs: bool = False


def as_term(
    term: Term | Callable[[Inexact[Tensor, "*shape"], float], Inexact[Tensor, "*shape"]],
) -> Term:
    """A plain N(u, t) as a term that declares no tensors."""
    return term if isinstance(term, Term) else Term(term)
