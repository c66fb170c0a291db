"""The trunk's sums over neighbours beside the same sums in plain operations of autograd.

Three tasks on random edges: the sums, with their first derivatives, and with the derivatives of a
loss on those, which is what training on forces takes. One process, one thread, float32; the two
take turns, and CPU time is counted. `python benchmarks/neighbour_sums.py` prints a table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from sfm.nn.density import Density, Layout
from sfm.nn.neighbourhoods import Block
from sfm.train.memory import keep_freed_memory

CHANNELS, CARRIED, RADIAL = 64, 16, 8
CASES = {"molecules": (1000, 12), "crystals": (500, 28)}


class Case:
    """Tokens that have `width` edges each from random senders, and random features."""

    def __init__(self, tokens: int, width: int) -> None:
        g = torch.Generator().manual_seed(0)
        edges = tokens * width
        self.n = tokens
        self.sender = torch.randint(0, tokens, (edges,), generator=g)
        self.receiver = torch.arange(tokens).repeat_interleave(width)
        self.layout = Layout(CHANNELS, CARRIED, tokens, (Block(tokens, width),), (0,))
        shapes = [(edges, RADIAL), (edges, 8), (tokens, CHANNELS)]
        shapes += [(tokens, 3, CARRIED), (tokens, 5, CARRIED)]
        shapes.append((1, RADIAL, 3 * CHANNELS + 4 * CARRIED))
        self.tensors = [torch.randn(*s, generator=g).requires_grad_() for s in shapes]


def ours(case: Case, radial: Tensor, y: Tensor, s: Tensor, v: Tensor, t: Tensor, w: Tensor) -> Any:
    moving = torch.cat([v.flatten(1), t.flatten(1)], dim=1)
    y1, y2 = y.split([3, 5], dim=1)
    return Density.apply(
        radial,
        y1.contiguous(),
        y2.contiguous(),
        y.repeat_interleave(CARRIED, dim=1),
        s.index_select(0, case.sender),
        moving.index_select(0, case.sender),
        w,
        case.layout,
    )


def plain(case: Case, radial: Tensor, y: Tensor, s: Tensor, v: Tensor, t: Tensor, w: Tensor) -> Any:
    r0, r1, r2, p = (radial @ w[0]).split([CHANNELS] * 3 + [4 * CARRIED], dim=1)
    p1, p2, q1, q2 = p.unsqueeze(1).split(CARRIED, dim=2)
    s, v, t = (x.index_select(0, case.sender) for x in (s, v, t))
    y1, y2 = y[:, :3, None], y[:, 3:, None]
    parts = (
        torch.cat([r0 * s, (v * y1).sum(1) * q1[:, 0], (t * y2).sum(1) * q2[:, 0]], dim=1),
        torch.cat([y1 * (r1 * s).unsqueeze(1), v * p1], dim=2),
        torch.cat([y2 * (r2 * s).unsqueeze(1), t * p2], dim=2),
    )
    return [
        part.new_zeros(case.n, *part.shape[1:]).index_add(0, case.receiver, part) for part in parts
    ]


Sums = Callable[..., Any]


def forward(case: Case, sums: Sums) -> None:
    with torch.no_grad():
        sums(case, *case.tensors)


def first(case: Case, sums: Sums) -> Any:
    total = sum((a * a).sum() for a in sums(case, *case.tensors))
    return torch.autograd.grad(total, case.tensors[:5], create_graph=True)


def second(case: Case, sums: Sums) -> None:
    total = sum((g * g).sum() for g in first(case, sums))
    torch.autograd.grad(total, case.tensors)


def turns(case: Case, task: Callable[[Case, Sums], Any], rounds: int) -> tuple[float, float, float]:
    """Medians: microseconds of ours and of plain operations per token, and their ratio."""
    rows = []
    for _ in range(rounds + 1):
        row = []
        for sums in (ours, plain):
            start = time.process_time()
            task(case, sums)
            row.append((time.process_time() - start) / case.n * 1e6)
        rows.append(row)
    kept = rows[1:]
    return (
        median(r[0] for r in kept),
        median(r[1] for r in kept),
        median(r[1] / r[0] for r in kept),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| edges | task | ours, CPU us per token | plain, CPU us per token | plain / ours |")
    print("| --- | --- | --- | --- | --- |")
    for name, (tokens, width) in CASES.items():
        case = Case(tokens, width)
        for task in (forward, first, second):
            a, b, ratio = turns(case, task, rounds)
            print(
                f"| {name}, {width} a token | {task.__name__} | {a:.0f} | {b:.0f} | {ratio:.2f} |"
            )


if __name__ == "__main__":
    main()
