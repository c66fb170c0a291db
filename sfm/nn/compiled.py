"""The trunk's work on edges in compiled C: energies and forces on CPUs in a fraction of the time.

The numbers are those of `sfm.nn.density`, `sfm.nn.radial` and `sfm.nn.harmonics`, to rounding. Edge
by edge, a filter lives only until it is used, features are read where the sender has them, and
nothing is padded, where torch's own calls go through memory for each of some fifty arrays as wide
as the edges. Values and first derivatives by positions are compiled; whoever wants other ones gets
them from the same sums in torch (`plain_density`), slower.

    with compiled():
        model.predict("water.xyz")
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.autograd import forward_ad

from sfm.autograd import Function
from sfm.errors import InputError, InputWarning
from sfm.nn.c_library import c_library
from sfm.nn.density import needed
from sfm.nn.harmonics import products, spherical_harmonics
from sfm.nn.radial import bessel

SOURCE = Path(__file__).with_name("compiled.c")
# sums may be reordered; nothing that would change how other code rounds (-ffast-math does)
FLAGS = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno")
SIGNATURES = {
    "density": "pppp ppp ppp sss",
    "density_back": "pppp ppp ppp pppp sss",
    "basis": "ppp pp s",
    "basis_back": "ppp pp p s",
    "couple": "ppp pp s",
    "couple_back": "ppp pp ppp s",
}
OPTION = "compiled=True (--compiled)"
SHARE = 4096  # edges that are worth a thread

Out = TypeVar("Out", bound=tuple[Tensor, ...])

_asked: ContextVar[bool] = ContextVar("compiled", default=False)


@contextmanager
def compiled(on: bool = True) -> Iterator[None]:
    """Inside the block the trunk's passes use compiled kernels; unless `on`, nothing is changed.

    Where there are none (on a GPU, without a C compiler, in half precision) one warning says so,
    and torch's kernels are used.
    """
    token = _asked.set(on or _asked.get())
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

    @property
    def threads(self) -> int:
        """That are worth starting."""
        return max(min(torch.get_num_threads(), len(self.sender) // SHARE), 1)

    def pieces(self) -> list[tuple[int, int, int, int]]:
        """(run, first token, last token + 1, thread) of what is worked on at a time."""
        threads = self.threads
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
    dtype: torch.dtype


def kernels_for(
    like: Shaped[Tensor, " ..."], channels: int, carried: int, radial: int
) -> Kernels | None:
    """The kernels, where they were asked for and can be had.

    Args:
        like: a tensor of the precision and device that they work in, of any shape and unit.
        channels, carried, radial: C, D and K, widths of the trunk.
    """
    if not _asked.get() or _transformed():
        return None
    return _kernels(like.device.type, like.dtype, channels, carried, radial)


def _transformed() -> bool:
    """Whether torch differentiates forwards or maps over a batch here, which no kernel knows."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )


@lru_cache(maxsize=8)
def _kernels(
    device: str, dtype: torch.dtype, channels: int, carried: int, radial: int
) -> Kernels | None:
    widths = (f"-DC={channels}", f"-DD={carried}", f"-DK={radial}")
    try:
        if device != "cpu":
            raise InputError(f"{OPTION} runs on CPUs, not on '{device}'")
        library = c_library(
            "trunk", SOURCE.read_text(), SIGNATURES, dtype, flags=(*FLAGS, *widths), option=OPTION
        )
    except InputError as error:
        warnings.warn(f"{error}: torch's kernels are used, which are slower", InputWarning, 2)
        return None
    return Kernels(library, channels, carried, radial, dtype)


class CompiledBasis(Function):
    """(E, 3) vectors -> radial functions (E, K) and harmonics (E, 8) of degrees 1 and 2.

    As `sfm.nn.radial.bessel` of the lengths over `cutoff` (E,), times `weight` (E,), and as
    `sfm.nn.harmonics.spherical_harmonics`. What comes in is float64, and so is the gradient; what
    goes out has the kernels' precision.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Float[Tensor, "E 3"],
        cutoff: Float[Tensor, " E"],
        weight: Float[Tensor, " E"],
        kernels: Kernels,
    ) -> tuple[Float[Tensor, "E K"], Float[Tensor, "E 8"]]:
        given, n = (vectors, cutoff, weight), len(vectors)
        ctx.save_for_backward(*given)
        ctx.kernels = kernels
        like = vectors.new_empty(0, dtype=kernels.dtype)
        out = like.new_empty(n, kernels.radial), like.new_empty(n, 8)
        return _filled(kernels.library.basis, n, given, out)

    @staticmethod
    def backward(
        ctx: Any, to_radial: Float[Tensor, "E K"], to_harmonics: Float[Tensor, "E 8"]
    ) -> Any:
        if torch.is_grad_enabled():
            return *_slopes(_plain_basis, ctx, (ctx.kernels,), (to_radial, to_harmonics)), None
        given = (*ctx.saved_tensors, to_radial, to_harmonics)
        back, n = ctx.kernels.library.basis_back, len(given[0])
        (gradient,) = _filled(back, n, given, (_like(given[0]),))
        return gradient, None, None, None


class CompiledDensity(Function):
    """A_0 (N, C + 2 D), A_1 (3, N, C + D), A_2 (5, N, C + D) of `sfm.nn.density`, dimensionless.

    Scalar products of carried features are summed over components. Of radial functions (E, K),
    harmonics (E, 8), the tokens' scalars (N, C) and carried features (N, 8 D), and filters
    (runs, K, 3 C + 4 D). Carried features of width 0 are left out: then D is zero in A.
    """

    @staticmethod
    def forward(
        ctx: Any,
        radial: Float[Tensor, "E K"],
        harmonics: Float[Tensor, "E 8"],
        scalars: Float[Tensor, "N C"],
        carried: Float[Tensor, "N D8"],
        filters: Float[Tensor, "runs K filters"],
        wiring: Wiring,
        kernels: Kernels,
    ) -> tuple[Float[Tensor, "N _"], Float[Tensor, "3 N CD"], Float[Tensor, "5 N CD"]]:
        # what is saved is what came, with its graph, and no copy
        ctx.save_for_backward(radial, harmonics, scalars, carried, filters)
        given, maps = _laid(wiring, radial, harmonics, scalars, carried), filters.contiguous()
        n, c, d = len(scalars), kernels.channels, carried.shape[1] // 8
        sums = [
            scalars.new_empty(n, c + 2 * d),
            scalars.new_empty(3, n, c + d),
            scalars.new_empty(5, n, c + d),
        ]

        def work(run: int, begin: int, end: int, _: int) -> None:
            kernels.library.density(*_at(*given, maps[run], *sums), n, begin, end)

        _in_threads(work, wiring)
        ctx.wiring, ctx.kernels = wiring, kernels
        return sums[0], sums[1], sums[2]

    @staticmethod
    def backward(ctx: Any, *grads: Float[Tensor, " ..."]) -> Any:
        if torch.is_grad_enabled() or needed(ctx, 4):
            return *_slopes(plain_density, ctx, (ctx.wiring, ctx.kernels), grads), None, None
        radial, harmonics, scalars, carried, filters = ctx.saved_tensors
        wiring, kernels, n = ctx.wiring, ctx.kernels, len(scalars)
        given, maps = _laid(wiring, radial, harmonics, scalars, carried), filters.contiguous()
        grads = tuple(g.contiguous() for g in grads)
        to_radial, to_harmonics = _like(radial), _like(harmonics)
        threads = wiring.threads
        to_scalars = to_carried = None
        if ctx.needs_input_grad[2]:  # those of the first layer depend on no position
            to_scalars = scalars.new_zeros(threads, n, scalars.shape[1])
        if ctx.needs_input_grad[3]:
            to_carried = carried.new_zeros(threads, n, carried.shape[1])

        def work(run: int, begin: int, end: int, thread: int) -> None:
            into = (to_radial, to_harmonics, *(_row(x, thread) for x in (to_scalars, to_carried)))
            kernels.library.density_back(*_at(*given, maps[run], *grads, *into), n, begin, end)

        _in_threads(work, wiring)
        ds, du = (None if x is None else x.sum(0) for x in (to_scalars, to_carried))
        return to_radial, to_harmonics, ds, du, None, None, None


class CompiledCoupling(Function):
    """Vectors (3, N, C) and tensors (5, N, C) times themselves, gated: what a layer puts out.

    With gates (N, 6 C) [unused | g1 | g21 | g2 | g11 | g22]: g1 v + g21 T v, and
    g2 t + g11 v v + g22 T T, products as in `sfm.nn.harmonics.products`; dimensionless.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Float[Tensor, "3 N C"],
        tensors: Float[Tensor, "5 N C"],
        gates: Float[Tensor, "N C6"],
        kernels: Kernels,
    ) -> tuple[Float[Tensor, "3 N C"], Float[Tensor, "5 N C"]]:
        given = (vectors, tensors, gates)
        ctx.save_for_backward(*given)
        ctx.kernels = kernels
        return _filled(kernels.library.couple, len(gates), given, (_like(vectors), _like(tensors)))

    @staticmethod
    def backward(ctx: Any, *grads: Float[Tensor, " ..."]) -> Any:
        if torch.is_grad_enabled():
            return *_slopes(_plain_coupling, ctx, (), grads), None
        given = ctx.saved_tensors
        into = tuple(map(_like, given))
        back, n = ctx.kernels.library.couple_back, len(given[2])
        return (*_filled(back, n, (*given, *grads), into), None)


def _laid(wiring: Wiring, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Arguments of the density as the kernels read them, without gaps."""
    radial, harmonics, scalars, carried = (x.contiguous() for x in tensors)
    return radial, harmonics, wiring.sender, wiring.first, scalars, carried


def _like(x: Tensor) -> Tensor:
    """Room of a tensor's shape, without gaps."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _filled(call: Any, n: int, given: Sequence[Tensor], out: Out) -> Out:
    """`out`, once a kernel has been called on n rows of what is given."""
    laid = [x.contiguous() for x in given]  # which live until the call is over
    call(*_at(*laid, *out), n)
    return out


def _row(x: Tensor | None, number: int) -> Tensor | None:
    return None if x is None else x[number]


def _at(*tensors: Tensor | None) -> list[int | None]:
    """Where the numbers of contiguous tensors lie; None for those that have no number."""
    return [None if x is None or not x.numel() else x.data_ptr() for x in tensors]


def _in_threads(work: Any, wiring: Wiring) -> None:
    """All pieces of a call, each thread's one after another."""
    pieces, threads = wiring.pieces(), wiring.threads
    if threads == 1:
        for piece in pieces:
            work(*piece)
        return
    list(_pool(threads).map(lambda k: [work(*p) for p in pieces if p[3] == k], range(threads)))


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sfm-density")


def _slopes(
    function: Any, ctx: Any, rest: tuple[Any, ...], grads: tuple[Tensor, ...]
) -> list[Tensor | None]:
    """The gradient of <grads, function> in the saved tensors, by torch: differentiable again."""
    given, graph = ctx.saved_tensors, torch.is_grad_enabled()
    with torch.enable_grad():
        # views: an input may depend on another one, which is no part of this function's slope
        inputs = [x.view_as(x) if graph and x.requires_grad else x.detach() for x in given]
        asked = [i for i in range(len(given)) if ctx.needs_input_grad[i]]
        for i in asked:
            inputs[i] = inputs[i] if inputs[i].requires_grad else inputs[i].requires_grad_()
        values = function(*inputs, *rest)
        pairs = [(v, g) for v, g in zip(values, grads, strict=True) if v.requires_grad]
        gradients = torch.autograd.grad(
            [v for v, _ in pairs],
            [inputs[i] for i in asked],
            [g for _, g in pairs],
            create_graph=graph,
            allow_unused=True,
        )
    slopes: list[Tensor | None] = [None] * len(given)
    for i, slope in zip(asked, gradients, strict=True):
        slopes[i] = slope
    return slopes


def _plain_basis(
    vectors: Tensor, cutoff: Tensor, weight: Tensor, kernels: Kernels
) -> tuple[Tensor, Tensor]:
    length = torch.linalg.vector_norm(vectors, dim=-1)
    radial = bessel(length / cutoff, kernels.radial) * weight.unsqueeze(1)
    harmonics = spherical_harmonics(vectors / length.unsqueeze(-1))[:, 1:]
    return radial.to(kernels.dtype), harmonics.to(kernels.dtype)


def plain_density(
    radial: Float[Tensor, "E K"],
    harmonics: Float[Tensor, "E 8"],
    scalars: Float[Tensor, "N C"],
    carried: Float[Tensor, "N D8"],
    filters: Float[Tensor, "runs K filters"],
    wiring: Wiring,
    kernels: Kernels,
) -> tuple[Float[Tensor, "N _"], Float[Tensor, "3 N CD"], Float[Tensor, "5 N CD"]]:
    """What `CompiledDensity` returns, by torch, dimensionless.

    (N, C + 2 D), (3, N, C + D) and (5, N, C + D).
    """
    c, d, n, sender = kernels.channels, kernels.carried, len(scalars), wiring.sender
    receiver = torch.repeat_interleave(torch.arange(n), wiring.first.diff())
    ends = wiring.first[torch.tensor((0, *wiring.runs)).cumsum(0)].diff().tolist()
    every = torch.cat([b @ w for b, w in zip(radial.split(ends), filters, strict=True)])
    f0, f1, f2, p1, p2, q1, q2 = every.split([c, c, c, d, d, d, d], dim=1)
    x, y = scalars[sender], harmonics.unsqueeze(2)
    parts = [
        [f0 * x],
        [y[:, :3] * (f1 * x).unsqueeze(1)],
        [y[:, 3:] * (f2 * x).unsqueeze(1)],
    ]
    if carried.shape[1]:
        u = carried[sender].view(-1, 8, d)
        scalar = [
            (y[:, m] * q.unsqueeze(1) * u[:, m]).sum(1)
            for m, q in ((slice(3), q1), (slice(3, 8), q2))
        ]
        parts[0] += scalar
        parts[1].append(p1.unsqueeze(1) * u[:, :3])
        parts[2].append(p2.unsqueeze(1) * u[:, 3:])
    a0, a1, a2 = (
        message.new_zeros(n, *message.shape[1:]).index_add(0, receiver, message)
        for message in (torch.cat(part, dim=-1) for part in parts)
    )
    return a0, a1.transpose(0, 1), a2.transpose(0, 1)


def _plain_coupling(vectors: Tensor, tensors: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    turned, squared, coupled = products(vectors, tensors)
    _, g1, g21, g2, g11, g22 = gates.chunk(6, dim=1)
    return g1 * vectors + g21 * turned, g2 * tensors + g11 * squared + g22 * coupled
