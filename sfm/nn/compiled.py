"""The density of neighbours and what it rests on, in compiled C: for inference on CPUs.

The numbers are those of `sfm.nn.density` and of `Trunk.geometry`, to rounding. Edge by edge, a
filter lives only until it is used, features are read where the sender has them, and nothing is
padded, where torch's own calls go through memory for each of some fifty arrays as wide as the
edges. First derivatives by positions only: `sfm.nn.density` has all the others.

    with compiled():
        model.predict("water.xyz")
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.autograd import Function
from sfm.errors import InputError, InputWarning, SfmError
from sfm.nn.c_library import REALS, c_library

SOURCE = Path(__file__).with_name("compiled_density.c")
# sums may be reordered; nothing that would change how other code rounds (-ffast-math does)
FLAGS = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")
SIGNATURES = {
    "density": "pppp ppp ppp sss",
    "density_back": "pppp ppp ppp pppp sss",
    "basis": "ppp pp s",
    "basis_back": "ppp pp p s",
}
SHARE = 4096  # edges that are worth a thread

_asked: ContextVar[bool] = ContextVar("compiled", default=False)


@contextmanager
def compiled(on: bool = True) -> Iterator[None]:
    """Inside the block the trunk's passes on a CPU use compiled kernels, or, if not `on`, none.

    Where they cannot be compiled one warning says why, and torch's kernels are used.
    """
    token = _asked.set(on)
    try:
        yield
    finally:
        _asked.reset(token)


@dataclass(frozen=True)
class Wiring:
    """Which tokens a layer's edges connect.

    Attributes:
        sender: (E,) int64, of edges sorted by receiver.
        first: (N + 1,) int64, where each token's edges begin.
        runs: number of tokens of each run; each has filters of its own.
    """

    sender: Int[Tensor, " E"]
    first: Int[Tensor, " N1"]
    runs: tuple[int, ...]

    @classmethod
    def of(cls, edges: Int[Tensor, "2 E"], runs: tuple[int, ...]) -> Wiring:
        """From edges sorted by receiver; token indices without unit."""
        counts = torch.bincount(edges[1], minlength=sum(runs))
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(edges[0].contiguous(), first, runs)

    def pieces(self) -> list[tuple[int, int, int, int]]:
        """(run, first token, last token + 1, thread) of what is worked on at a time."""
        threads = max(min(torch.get_num_threads(), len(self.sender) // SHARE), 1)
        every, start = [], 0
        for run, count in enumerate(self.runs):
            cuts = [start + count * k // threads for k in range(threads + 1)]
            every += [(run, cuts[k], cuts[k + 1], k) for k in range(threads)]
            start += count
        return every


@dataclass(frozen=True)
class Kernels:
    """Compiled functions for one width of the trunk."""

    library: Any
    channels: int
    carried: int
    radial: int


def kernels(like: Tensor, channels: int, carried: int, radial: int) -> Kernels | None:
    """The kernels, where they were asked for and can be had, for tensors as `like`."""
    if not _asked.get() or like.device.type != "cpu" or like.dtype not in REALS:
        return None
    return _kernels(like.dtype, channels, carried, radial)


@lru_cache(maxsize=8)
def _kernels(dtype: torch.dtype, channels: int, carried: int, radial: int) -> Kernels | None:
    widths = (f"-DC={channels}", f"-DD={carried}", f"-DK={radial}")
    try:
        library = c_library(
            "density", SOURCE.read_text(), SIGNATURES, dtype, flags=(*FLAGS, *widths)
        )
    except InputError as error:
        warnings.warn(f"not compiled, and slower: {error}", InputWarning, stacklevel=2)
        return None
    return Kernels(library, channels, carried, radial)


class CompiledBasis(Function):
    """(E, 3) vectors -> radial functions (E, K) and harmonics (E, 8) of degrees 1 and 2.

    As `sfm.nn.radial.bessel` of the lengths over `cutoff` (E,), times `weight` (E,), and as
    `sfm.nn.harmonics.spherical_harmonics`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Float[Tensor, "E 3"],
        cutoff: Float[Tensor, " E"],
        weight: Float[Tensor, " E"],
        made: Kernels,
    ) -> tuple[Float[Tensor, "E K"], Float[Tensor, "E 8"]]:
        vectors, cutoff, weight = (x.contiguous() for x in (vectors, cutoff, weight))
        n = len(vectors)
        radial, harmonics = vectors.new_empty(n, made.radial), vectors.new_empty(n, 8)
        made.library.basis(*_at(vectors, cutoff, weight, radial, harmonics), n)
        ctx.save_for_backward(vectors, cutoff, weight)
        ctx.made = made
        return radial, harmonics

    @staticmethod
    def backward(ctx: Any, to_radial: Tensor, to_harmonics: Tensor) -> Any:
        _no_graph()
        given = [*ctx.saved_tensors, to_radial.contiguous(), to_harmonics.contiguous()]
        gradient = torch.empty_like(given[0])
        ctx.made.library.basis_back(*_at(*given, gradient), len(gradient))
        return gradient, None, None, None


class CompiledDensity(Function):
    """A_0 (N, C + 2 D), A_1 (3, N, C + D), A_2 (5, N, C + D) of `sfm.nn.density`, dimensionless.

    Scalar products of carried features are summed over components. Of radial functions (E, K),
    harmonics (E, 8), the tokens' scalars (N, C) and carried features (N, 8 D) or None, and filters
    (runs, K, 3 C + 4 D).
    """

    @staticmethod
    def forward(
        ctx: Any,
        radial: Float[Tensor, "E K"],
        harmonics: Float[Tensor, "E 8"],
        scalars: Float[Tensor, "N C"],
        carried: Float[Tensor, "N D8"] | None,
        filters: Float[Tensor, "runs K filters"],
        wiring: Wiring,
        made: Kernels,
    ) -> tuple[Float[Tensor, "N _"], Float[Tensor, "3 N CD"], Float[Tensor, "5 N CD"]]:
        scalars, filters = scalars.contiguous(), filters.contiguous()
        carried = None if carried is None else carried.contiguous()
        n, c, d = len(scalars), made.channels, 0 if carried is None else made.carried
        sums = [
            scalars.new_empty(n, c + 2 * d),
            scalars.new_empty(3, n, c + d),
            scalars.new_empty(5, n, c + d),
        ]
        given = (radial, harmonics, wiring.sender, wiring.first, scalars, carried)

        def work(run: int, begin: int, end: int, _: int) -> None:
            made.library.density(*_at(*given, filters[run], *sums), n, begin, end)

        _in_threads(work, wiring)
        ctx.save_for_backward(radial, harmonics, scalars, carried, filters)
        ctx.wiring, ctx.made = wiring, made
        return sums[0], sums[1], sums[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        _no_graph()
        radial, harmonics, scalars, carried, filters = ctx.saved_tensors
        wiring, made, n = ctx.wiring, ctx.made, len(scalars)
        grads = tuple(g.contiguous() for g in grads)
        to_radial, to_harmonics = torch.empty_like(radial), torch.empty_like(harmonics)
        pieces = wiring.pieces()
        threads = 1 + max((piece[3] for piece in pieces), default=0)
        to_scalars = to_carried = None
        if ctx.needs_input_grad[2]:  # those of the first layer depend on no position
            to_scalars = scalars.new_zeros(threads, n, scalars.shape[1])
        if carried is not None and ctx.needs_input_grad[3]:
            to_carried = carried.new_zeros(threads, n, carried.shape[1])
        given = (radial, harmonics, wiring.sender, wiring.first, scalars, carried)

        def work(run: int, begin: int, end: int, thread: int) -> None:
            into = (to_radial, to_harmonics, *(_row(x, thread) for x in (to_scalars, to_carried)))
            made.library.density_back(*_at(*given, filters[run], *grads, *into), n, begin, end)

        _in_threads(work, wiring)
        ds, du = (None if x is None else x.sum(0) for x in (to_scalars, to_carried))
        return to_radial, to_harmonics, ds, du, None, None, None


def _row(x: Tensor | None, number: int) -> Tensor | None:
    return None if x is None else x[number]


def _at(*tensors: Tensor | None) -> list[int | None]:
    """Where the numbers of contiguous tensors lie."""
    return [None if x is None else x.data_ptr() for x in tensors]


def _in_threads(work: Any, wiring: Wiring) -> None:
    """All pieces of a call, each thread's one after another."""
    pieces = wiring.pieces()
    threads = 1 + max((piece[3] for piece in pieces), default=0)
    if threads == 1:
        for piece in pieces:
            work(*piece)
        return
    list(_pool(threads).map(lambda k: [work(*p) for p in pieces if p[3] == k], range(threads)))


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sfm-density")


def _no_graph() -> None:
    """Refuse what would be a wrong gradient in silence.

    Raises:
        SfmError: derivatives of derivatives.
    """
    if torch.is_grad_enabled():
        raise SfmError(
            "compiled kernels know first derivatives by positions only; leave compiled out"
        )
