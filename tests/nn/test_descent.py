"""The trainer of small modules: what it finds, what it keeps, what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sfm.errors import RunError
from sfm.nn.descent import batches, cosine, descend
from sfm.progress import Progress, listening


class Line(nn.Module):
    """y = a . x, float64."""

    def __init__(self, d: int = 3) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(d, dtype=torch.float64))

    def forward(self, x):
        return x @ self.a


def problem(seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 3, generator=g, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return x, y + 0.1 * torch.randn(40, generator=g, dtype=torch.float64)


def run(module, *, steps=400, lr=0.1, optimizer=None, loss=None, **options):
    x, y = problem()
    optimizer = optimizer or torch.optim.Adam(module.parameters(), lr=lr)
    loss = loss or (lambda _: (module(x) - y).square().mean())
    return descend(module, loss, work="line", steps=steps, optimizer=optimizer, **options)


def test_it_finds_the_least_squares_solution_of_numpy():
    module = Line()
    fit = run(module, schedule=cosine(400))
    x, y = problem()
    exact = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0]
    # Adam with a rate that falls to nothing comes to rest at the minimum
    np.testing.assert_allclose(module.a.detach().numpy(), exact, atol=1e-6)
    assert fit.kept == len(fit.losses) == 400


def test_an_optimiser_with_a_line_search_finds_it_too():
    module = Line()
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=30, line_search_fn="strong_wolfe")
    fit = run(module, steps=1, optimizer=optimizer)
    x, y = problem()
    exact = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(module.a.detach().numpy(), exact, atol=1e-7)
    assert len(fit.losses) > 1  # every evaluation is told


def test_a_gradient_is_clipped_and_the_schedule_scales_the_rate():
    """Plain descent moves by rate times gradient, so both are seen in the path."""
    module, path = Line(1), []

    def loss(_):
        path.append(float(module.a.detach()))
        return 100.0 * module.a.sum()

    rates = [1.0, 0.5, 0.25]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.2)
    run(module, steps=3, optimizer=optimizer, loss=loss, schedule=lambda n: rates[n], clip=2.0)
    moved = -np.diff([*path, float(module.a.detach())])
    np.testing.assert_allclose(moved, [0.4, 0.2, 0.1], rtol=1e-5)  # clipping adds 1e-6 to the norm
    run(module, steps=1, optimizer=torch.optim.SGD(module.parameters(), lr=0.2), loss=loss)
    assert float(module.a.detach()) - path[-1] == pytest.approx(-20.0)  # no limit


@pytest.mark.parametrize(
    ("values", "keep_best", "kept"),
    [
        ([3.0, 1.0, 2.0, 5.0], True, 1),
        ([0.0, 1.0, 1.0, 1.0], True, 0),  # the start is the best
        ([math.nan, 2.0, 1.0, math.nan], True, 2),
        ([0.0, 1.0, 1.0, 1.0], False, 3),
    ],
)
def test_the_best_weights_are_kept_those_of_the_start_included(values, keep_best, kept):
    module, seen = Line(), []

    def validate(current):
        seen.append(current.a.detach().clone())
        return values[len(seen) - 1]

    fit = run(module, steps=3, every=1, validate=validate, keep_best=keep_best)
    assert str(fit.validations) == str(dict(enumerate(values)))
    assert fit.kept == kept
    assert torch.equal(module.a.detach(), seen[kept])
    assert not torch.equal(seen[0], seen[1])


def test_averaged_weights_are_validated_and_kept():
    """m <- m + (w - m)(1 - min(average, n / (n + 9))), from the first weights after one step."""
    module, path, seen = Line(1), [], []

    def loss(_):
        path.append(float(module.a.detach()))
        return (module.a - 1.0).square().sum()

    def validate(current):
        seen.append(float(current.a.detach()))
        return seen[-1]

    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    options = {"every": 1, "average": 0.3, "validate": validate}
    run(module, steps=8, optimizer=optimizer, loss=loss, **options)
    last = 1.0 + 0.8 * (path[-1] - 1.0)
    mean, expected = 0.0, [0.0]
    for n, weight in enumerate([*path[1:], last]):
        mean = weight if n == 0 else mean + (weight - mean) * (1.0 - min(0.3, n / (n + 9.0)))
        expected.append(mean)
    np.testing.assert_allclose(seen, expected, rtol=1e-12)
    assert float(module.a.detach()) == pytest.approx(expected[-1], rel=1e-12)


def test_the_same_run_gives_the_same_bits():
    x, y = problem()

    def trained(seed):
        module, rows = Line(), batches(len(x), 8, seed=seed)

        def loss(_):
            chosen = next(rows)
            return (module(x[chosen]) - y[chosen]).square().mean()

        return run(module, steps=30, loss=loss, clip=1.0, average=0.9), module.a.detach()

    (first, a), (second, b), (_, c) = trained(0), trained(0), trained(1)
    assert first == second
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda a: a.sum() * torch.nan, "line: the loss is nan at step 3"),
        (lambda a: a.sum() / 0.0, "line: the loss is inf at step 3"),
        (lambda a: (0.0 * a).sum().sqrt(), "line: the loss's gradient is nan at step 3"),
    ],
)
def test_what_is_not_finite_is_refused_and_not_stepped_on(bad, said):
    module, before = Line(1), []

    def loss(step):
        before[:] = [module.a.detach().clone()]
        return bad(module.a) if step == 2 else (module.a - 1.0).square().sum()

    with pytest.raises(RunError, match=f"{said}; lower the learning rate"):
        run(module, steps=5, loss=loss)
    assert torch.isfinite(module.a).all()
    assert torch.equal(module.a.detach(), before[0])


def test_progress_is_told_and_lines_are_logged():
    heard: list[Progress] = []
    lines: list[str] = []
    with listening(heard.append):
        run(Line(1), steps=5, every=2, loss=lambda n: torch.tensor(float(n), requires_grad=True),
            log=lines.append)  # fmt: skip
    assert [(p.work, p.done, p.total) for p in heard] == [("line", n, 5) for n in range(1, 6)]
    assert heard[-1].note == "loss 4"
    assert lines == ["step 2/5: loss 0.5000", "step 4/5: loss 2.5000", "step 5/5: loss 4.0000"]


@pytest.mark.parametrize("how", [{"keep_best": True}, {"average": 0.5}, {}])
def test_an_interrupted_run_leaves_the_weights_kept_so_far(how):
    module, seen = Line(1), []

    def loss(step):
        if step == 3:
            raise KeyboardInterrupt
        return (module.a - 1.0).square().sum()

    def validate(current):
        seen.append(current.a.detach().clone())
        return -len(seen)

    with pytest.raises(KeyboardInterrupt):
        run(module, steps=9, loss=loss, every=1, validate=validate, **how)
    assert len(seen) == 4
    assert torch.equal(module.a.detach(), seen[-1])


def test_batches_use_every_example_once_in_each_order():
    rows = batches(7, 2, seed=3)
    for _ in range(3):
        order = [row for _ in range(3) for row in next(rows)]
        assert len(set(order)) == 6  # one of seven is left over
        assert set(order) <= set(range(7))
    other = batches(7, 2, seed=3)
    assert [next(other) for _ in range(9)] == [
        row for rows in [batches(7, 2, seed=3)] for row in (next(rows) for _ in range(9))
    ]
