"""The density of a token's neighbours, with first and second derivatives by hand.

For edges e = (j -> i) with radial functions b, harmonics y_1, y_2 (component m), and the sender's
scalars s and carried features u (vectors and tensors, component m),

    A_0 = [ sum f_0 s | sum q y u ],    A_l = [ sum y_l f_l s | sum p u ]   (l = 1, 2),

with filters [f_0 | f_1 | f_2 | p | q] = b w. With a weight a on A this is a number that is linear
in each of b, w, (s, u) and a, and affine in y: derivatives of every order are sums of such terms.
Training on forces takes two orders. Written out by hand they need a fraction of the memory traffic
of autograd's own graph: edges are worked on in chunks that stay in the cache, nothing as wide as
edges x filters is ever stored, and sums over neighbours are matrix products per token over the
padded lists of `sfm.nn.neighbourhoods`. The density is that of the atomic cluster expansion
(Drautz, Phys. Rev. B 99, 014104 (2019)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.autograd import Function
from sfm.nn.neighbourhoods import Block

CHUNK = 2048  # edges that are worked on at a time


@dataclass(frozen=True)
class Layout:
    """Widths, and how tokens and edges lie.

    Attributes:
        channels: C, of the scalars.
        carried: D, of the vectors and tensors.
        tokens: N.
        blocks: of tokens and their edges.
        runs: which filters each block takes.
        constant: whether the terms without harmonics count (False for derivatives by harmonics).
    """

    channels: int
    carried: int
    tokens: int
    blocks: tuple[Block, ...]
    runs: tuple[int, ...]
    constant: bool = True


Maybe = Tensor | None


def _tiled(w: Tensor, c: int, d: int) -> list[Tensor]:
    """(K, 3 C + 4 D) -> f_0, f_1, f_2 (K, C) and p, q (K, 8 D), once for every component."""
    p1, p2, q1, q2 = (w[:, 3 * c + k * d : 3 * c + (k + 1) * d] for k in range(4))
    return [
        *(part.contiguous() for part in w[:, : 3 * c].split(c, dim=1)),
        torch.cat([p1, p1, p1, p2, p2, p2, p2, p2], dim=1),
        torch.cat([q1, q1, q1, q2, q2, q2, q2, q2], dim=1),
    ]


def _untiled(parts: Sequence[Tensor], d: int) -> Tensor:
    """The transpose of `_tiled`."""
    f0, f1, f2, p, q = parts
    p, q = p.view(len(p), 8, d), q.view(len(q), 8, d)
    carried = [p[:, :3].sum(1), p[:, 3:].sum(1), q[:, :3].sum(1), q[:, 3:].sum(1)]
    return torch.cat([f0, f1, f2, *carried], dim=1)


class _Chunk:
    """A few tokens with their edges, and views on what belongs to them."""

    def __init__(self, token: int, n: int, edge: int, width: int, run: int) -> None:
        self.n, self.width, self.run = n, width, run
        self.tokens, self.edges = slice(token, token + n), slice(edge, edge + n * width)

    def of(self, x: Tensor) -> Tensor:
        """(E', a) -> (n, M, a)."""
        return x[self.edges].view(self.n, self.width, x.shape[1])

    def filters(self, b: Tensor, w: Sequence[Tensor]) -> list[Tensor]:
        """The (n, M, ...) filters of (E', K) radial functions."""
        radial = b[self.edges]
        return [torch.mm(radial, part).view(self.n, self.width, part.shape[1]) for part in w]

    def back(self, df: Sequence[Tensor], w: Sequence[Tensor], out: Tensor) -> None:
        """Add to the gradient (E', K) of radial functions what comes from the filters'."""
        total: Tensor | None = None
        for grad, part in zip(df, w, strict=True):
            flat = grad.flatten(0, 1).t()
            # a product with few rows is much faster than one with few columns
            total = torch.mm(part, flat) if total is None else total.addmm_(part, flat)
        assert total is not None
        out[self.edges] += total.t()

    def to_weights(self, b: Tensor, df: Sequence[Tensor], out: Sequence[Tensor]) -> None:
        """Add to the gradient of the filters' weights."""
        radial = b[self.edges].t()
        for grad, part in zip(df, out, strict=True):
            part.addmm_(radial, grad.flatten(0, 1))


def _chunks(layout: Layout) -> Iterator[_Chunk]:
    token = edge = 0
    for block, run in zip(layout.blocks, layout.runs, strict=True):
        end = token + block.tokens
        while token < end:
            n = min(max(CHUNK // max(block.width, 1), 1), end - token)
            if block.width:
                yield _Chunk(token, n, edge, block.width, run)
            token, edge = token + n, edge + n * block.width


class _Weights:
    """What A is multiplied with, on the tokens of a chunk, broadcast to edges."""

    def __init__(self, chunk: _Chunk, a: Sequence[Tensor], layout: Layout) -> None:
        c, d, n = layout.channels, layout.carried, chunk.n
        a0, a1, a2 = a[0][chunk.tokens], a[1][:, chunk.tokens], a[2][:, chunk.tokens]
        self.a0, self.aq = a0[:, :c].unsqueeze(1), a0[:, c:].unsqueeze(1)
        self.a1 = a1[..., :c].transpose(0, 1).contiguous()
        self.a2 = a2[..., :c].transpose(0, 1).contiguous()
        carried = torch.cat([a1[..., c:], a2[..., c:]]).transpose(0, 1)
        self.ap = carried.reshape(n, 1, 8 * d)
        if not layout.constant:
            self.a0, self.ap = torch.zeros_like(self.a0), torch.zeros_like(self.ap)


class _Sums:
    """A of all tokens, filled chunk by chunk."""

    def __init__(self, like: Tensor, layout: Layout) -> None:
        n, c, d = layout.tokens, layout.channels, layout.carried
        self.layout = layout
        self.parts = [
            like.new_zeros(n, c + 8 * d),
            like.new_zeros(3, n, c + d),
            like.new_zeros(5, n, c + d),
        ]

    def put(self, chunk: _Chunk, m: Sequence[Tensor], a1: Tensor, a2: Tensor) -> None:
        """m: messages f_0 s, p u, q y u; a1, a2: (n, 3, C), (n, 5, C)."""
        c, d = self.layout.channels, self.layout.carried
        tokens, (all0, all1, all2) = chunk.tokens, self.parts
        out0, out1, out2 = all0[tokens], all1[:, tokens], all2[:, tokens]
        out0[:, c:] = m[2].sum(1)
        out1[..., :c] = a1.transpose(0, 1)
        out2[..., :c] = a2.transpose(0, 1)
        if self.layout.constant:
            out0[:, :c] = m[0].sum(1)
            carried = m[1].sum(1).view(chunk.n, 8, d).transpose(0, 1)
            out1[..., c:] = carried[:3]
            out2[..., c:] = carried[3:]


def needed(ctx: Any, place: int) -> bool:
    """Whether this backward pass asks for the gradient of an input (not only: whether it may)."""
    if not ctx.needs_input_grad[place]:
        return False
    node = ctx.next_functions[place][0]
    try:
        return node is None or torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf, or no engine that knows
        return True


N_INPUTS = 7


class Density(Function):
    """A_0 (N, C + 8 D), A_1 (3, N, C + D), A_2 (5, N, C + D).

    Of b (E', K) radial functions; y1 (E', 3), y2 (E', 5) harmonics; yu (E', 8 D) harmonics, each
    repeated for all carried channels; s (E', C), u (E', 8 D) features of the senders;
    w (runs, K, 3 C + 4 D).
    """

    @staticmethod
    def forward(
        b: Float[Tensor, "E K"],
        y1: Float[Tensor, "E 3"],
        y2: Float[Tensor, "E 5"],
        yu: Float[Tensor, "E D8"],
        s: Float[Tensor, "E C"],
        u: Float[Tensor, "E D8"],
        w: Float[Tensor, "runs K filters"],
        layout: Layout,
    ) -> tuple[Float[Tensor, "N _"], Float[Tensor, "3 N CD"], Float[Tensor, "5 N CD"]]:
        weights = [_tiled(run, layout.channels, layout.carried) for run in w]
        sums = _Sums(s, layout)
        for chunk in _chunks(layout):
            of = chunk.of
            f0, f1, f2, p, q = chunk.filters(b, weights[chunk.run])
            scalars, carried = of(s), of(u)
            a1 = torch.bmm(of(y1).transpose(1, 2), f1.mul_(scalars))
            a2 = torch.bmm(of(y2).transpose(1, 2), f2.mul_(scalars))
            m = (f0.mul_(scalars), p.mul_(carried), q.mul_(carried).mul_(of(yu)))
            sums.put(chunk, m, a1, a2)
        return sums.parts[0], sums.parts[1], sums.parts[2]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.layout = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Float[Tensor, " ..."]) -> Any:
        # features of the first layer depend on no position, weights are not asked for by forces
        asked = needed(ctx, 4) or needed(ctx, 5), needed(ctx, 6)
        return (*DensityGradient.apply(*ctx.saved_tensors, *grads, ctx.layout, asked), None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Float[Tensor, " ..."] | None) -> Any:
        total: list[Tensor] | None = None
        for arguments, layout in _replaced(ctx.saved_tensors, tangents[:N_INPUTS], ctx.layout):
            out = Density.apply(*arguments, layout)
            total = list(out) if total is None else [a + b for a, b in zip(total, out, strict=True)]
        return tuple(total) if total is not None else None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return _one_by_one(Density, info, in_dims, inputs)


GROUPS = (
    (0,),
    (1, 2, 3),
    (4, 5),
    (6,),
)  # inputs that the density is linear (or affine) in together


def _replaced(
    tensors: Sequence[Tensor], changes: Sequence[Maybe], layout: Layout
) -> Iterator[tuple[list[Tensor], Layout]]:
    """Arguments with one group after the other replaced by its change: terms of a derivative."""
    for group in GROUPS:
        if all(changes[i] is None for i in group):
            continue
        arguments = list(tensors)
        for i in group:
            change = changes[i]
            arguments[i] = torch.zeros_like(tensors[i]) if change is None else change
        yield arguments, replace(layout, constant=layout.constant and group != GROUPS[1])


def _one_by_one(function: Any, info: Any, in_dims: Any, inputs: Any) -> Any:
    outs = [
        function.apply(
            *(x if d is None else x.select(d, i) for x, d in zip(inputs, in_dims, strict=True))
        )
        for i in range(info.batch_size)
    ]
    return tuple(torch.stack(o) for o in zip(*outs, strict=True)), (0,) * len(outs[0])


class DensityGradient(Function):
    """Gradients of <a, A> with respect to the seven inputs of `Density`, each of the same shape."""

    @staticmethod
    def forward(
        b: Float[Tensor, "E K"],
        y1: Float[Tensor, "E 3"],
        y2: Float[Tensor, "E 5"],
        yu: Float[Tensor, "E D8"],
        s: Float[Tensor, "E C"],
        u: Float[Tensor, "E D8"],
        w: Float[Tensor, "runs K filters"],
        a0: Float[Tensor, "N _"],
        a1: Float[Tensor, "3 N CD"],
        a2: Float[Tensor, "5 N CD"],
        layout: Layout,
        needed: tuple[bool, bool],
    ) -> tuple[Float[Tensor, " ..."] | None, ...]:
        weights = [_tiled(run, layout.channels, layout.carried) for run in w]
        db, dy1, dy2, dyu = (torch.zeros_like(x) for x in (b, y1, y2, yu))
        to_features, to_weights = needed
        ds, du = (torch.zeros_like(s), torch.zeros_like(u)) if to_features else (None, None)
        dw = [[torch.zeros_like(p) for p in run] for run in weights] if to_weights else None
        for chunk in _chunks(layout):
            of, maps, on = chunk.of, weights[chunk.run], _Weights(chunk, (a0, a1, a2), layout)
            f0, f1, f2, p, q = chunk.filters(b, maps)
            scalars, carried = of(s), of(u)
            e1, e2 = torch.bmm(of(y1), on.a1), torch.bmm(of(y2), on.a2)
            h = of(yu) * on.aq
            if ds is not None and du is not None:
                torch.mul(f0, on.a0, out=of(ds)).addcmul_(f1, e1).addcmul_(f2, e2)
                torch.mul(p, on.ap, out=of(du)).addcmul_(q, h)
            torch.mul(q.mul_(carried), on.aq, out=of(dyu))
            torch.bmm(f1.mul_(scalars), on.a1.transpose(1, 2), out=of(dy1))
            torch.bmm(f2.mul_(scalars), on.a2.transpose(1, 2), out=of(dy2))
            df = (
                scalars * on.a0,
                e1.mul_(scalars),
                e2.mul_(scalars),
                carried * on.ap,
                h.mul_(carried),
            )
            chunk.back(df, maps, db)
            if dw is not None:
                chunk.to_weights(b, df, dw[chunk.run])
        stacked = None if dw is None else torch.stack([_untiled(run, layout.carried) for run in dw])
        return db, dy1, dy2, dyu, ds, du, stacked

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.layout, _ = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *dd: Maybe) -> Any:
        *inputs, a0, a1, a2 = ctx.saved_tensors
        if torch.is_grad_enabled() or dd[6] is not None:  # a third derivative, or a rare second one
            return (*_by_terms(inputs, (a0, a1, a2), dd, ctx.layout), None, None)
        return (*_second(inputs, (a0, a1, a2), dd, ctx.layout), None, None)


def _by_terms(
    inputs: Sequence[Tensor], a: Sequence[Tensor], dd: Sequence[Maybe], layout: Layout
) -> list[Maybe]:
    """What `_second` returns, term by term and differentiable again."""
    gradients: list[Maybe] = [None] * (N_INPUTS + 3)
    moved = [i for group in GROUPS for i in group if any(dd[j] is not None for j in group)]
    for arguments, form in _replaced(inputs, dd, layout):
        group = next(g for g in GROUPS if any(arguments[i] is not inputs[i] for i in g))
        grads = DensityGradient.apply(*arguments, *a, form, (True, True))
        sums = Density.apply(*arguments, form)
        for i, value in enumerate((*grads, *sums)):
            if i not in group:
                gradients[i] = value if gradients[i] is None else gradients[i] + value
    assert moved or all(f is None for f in gradients)
    return gradients


def _second(
    inputs: Sequence[Tensor], a: Sequence[Tensor], dd: Sequence[Maybe], layout: Layout
) -> list[Maybe]:
    """Gradients, with respect to inputs and a, of the sum over inputs of <dd, gradient>."""
    b, y1, y2, yu, s, u, w = inputs
    weights = [_tiled(run, layout.channels, layout.carried) for run in w]
    new = [torch.zeros_like(x) for x in inputs[:6]]
    dw = [[torch.zeros_like(p) for p in run] for run in weights]
    sums = _Sums(s, layout)
    moved_features = dd[4] is not None or dd[5] is not None
    bb, yy1, yy2, yyu, ss, uu = (
        torch.zeros_like(x) if given is None else given.contiguous()
        for given, x in zip(dd[:6], inputs[:6], strict=True)
    )
    for chunk in _chunks(layout):
        of, maps, on = chunk.of, weights[chunk.run], _Weights(chunk, a, layout)
        f0, f1, f2, p, q = chunk.filters(b, maps)
        g0, g1, g2, pp, qq = chunk.filters(bb, maps)
        x, v = of(s), of(u)
        e1, e2 = torch.bmm(of(y1), on.a1), torch.bmm(of(y2), on.a2)
        ee1, ee2 = torch.bmm(of(yy1), on.a1), torch.bmm(of(yy2), on.a2)
        h, hh = of(yu) * on.aq, of(yyu) * on.aq
        # features
        torch.mul(g0, on.a0, out=of(new[4]))
        of(new[4]).addcmul_(g1, e1).addcmul_(f1, ee1).addcmul_(g2, e2).addcmul_(f2, ee2)
        torch.mul(pp, on.ap, out=of(new[5])).addcmul_(qq, h).addcmul_(q, hh)
        # filters, first as the plain gradient has them, for the weights
        df = [x * on.a0, e1 * x, e2 * x, v * on.ap, h * v]
        chunk.to_weights(bb, df, dw[chunk.run])
        df = [torch.zeros_like(x), ee1.mul_(x), ee2.mul_(x), torch.zeros_like(v), hh.mul_(v)]
        if moved_features:
            xx, vv = of(ss), of(uu)
            df[0].addcmul_(xx, on.a0)
            df[1].addcmul_(xx, e1)
            df[2].addcmul_(xx, e2)
            df[3].addcmul_(vv, on.ap)
            df[4].addcmul_(vv, h)
        chunk.to_weights(b, df, dw[chunk.run])
        chunk.back(df, maps, new[0])
        # messages
        m0, m1, m2 = g0.mul_(x), g1.mul_(x), g2.mul_(x)
        mp, mq = pp.mul_(v), qq.mul_(v)
        if moved_features:
            m0.addcmul_(f0, xx)
            m1.addcmul_(f1, xx)
            m2.addcmul_(f2, xx)
            mp.addcmul_(p, vv)
            mq.addcmul_(q, vv)
        torch.bmm(m1, on.a1.transpose(1, 2), out=of(new[1]))
        torch.bmm(m2, on.a2.transpose(1, 2), out=of(new[2]))
        torch.mul(mq, on.aq, out=of(new[3]))
        da1 = torch.bmm(of(y1).transpose(1, 2), m1).baddbmm_(of(yy1).transpose(1, 2), f1.mul_(x))
        da2 = torch.bmm(of(y2).transpose(1, 2), m2).baddbmm_(of(yy2).transpose(1, 2), f2.mul_(x))
        mq = mq.mul_(of(yu)).addcmul_(q.mul_(v), of(yyu))
        sums.put(chunk, (m0, mp, mq), da1, da2)
    return [*new, torch.stack([_untiled(run, layout.carried) for run in dw]), *sums.parts]
