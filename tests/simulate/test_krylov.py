"""Krylov methods against dense solves: batches, preconditioners, other inner products, failures."""

from __future__ import annotations

import pytest
import torch

from sfm.simulate.krylov import (
    Indefinite,
    NotConverged,
    NotFinite,
    bicgstab,
    conjugate_gradients,
    gmres,
)

METHODS = {"cg": conjugate_gradients, "gmres": gmres, "bicgstab": bicgstab}


def matrices(count: int, n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Positive definite ones, the first far worse conditioned than the last."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(count, n, n, generator=generator, dtype=dtype)
    spread = torch.logspace(-2, 1, count, dtype=torch.float64)
    return a @ a.mH / n + spread[:, None, None] * torch.eye(n, dtype=dtype)


def right(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_equals_dense_solves_and_singles(name, dtype):
    a, b = matrices(4, 12, dtype), right(4, 3, 4, dtype=dtype)
    if name != "cg":
        a = a + 0.3 * torch.triu(a, 1)

    def product(v):
        return (a @ v.flatten(1)[..., None])[..., 0].view_as(v)

    solution = METHODS[name](product, b, batch_axes=1, tolerance=1e-12)
    exact = torch.linalg.solve(a, b.flatten(1)[..., None]).view_as(b)
    torch.testing.assert_close(solution.x, exact, rtol=1e-8, atol=1e-8)
    assert solution.residual <= 1e-12
    for k in range(4):
        alone = METHODS[name](lambda v, k=k: (a[k] @ v.flatten()).view_as(v), b[k], tolerance=1e-12)
        torch.testing.assert_close(alone.x, solution.x[k], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_scales_of_right_hand_sides_differ_and_zero_is_solved_by_zero(name):
    a, b = matrices(3, 8), right(3, 8) * torch.tensor([1e-30, 0.0, 1e20]).double()[:, None]
    solution = METHODS[name](lambda v: (a @ v[..., None])[..., 0], b, batch_axes=1)
    exact = torch.linalg.solve(a, b[..., None])[..., 0]
    assert torch.equal(solution.x[1], torch.zeros(8).double())
    for k in (0, 2):
        torch.testing.assert_close(
            solution.x[k] / exact[k], torch.ones(8).double(), rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("name", METHODS)
def test_a_good_preconditioner_saves_iterations(name):
    diagonal = torch.logspace(0, 5, 40, dtype=torch.float64)
    a = torch.diag(diagonal) + 0.1 * matrices(1, 40)[0]
    b = right(40)
    slow = METHODS[name](lambda v: a @ v, b, max_iterations=5000)
    fast = METHODS[name](lambda v: a @ v, b, precondition=lambda v: v / diagonal)
    torch.testing.assert_close(fast.x, torch.linalg.solve(a, b), rtol=1e-7, atol=1e-10)
    assert fast.iterations < slow.iterations / 3


def test_conjugate_gradients_in_another_inner_product():
    """1 + K W is not symmetric, but self-adjoint in x . W y; W may have a null space."""
    k, w = matrices(1, 9)[0], torch.linspace(0, 2, 9, dtype=torch.float64)
    a = torch.eye(9).double() + k * w
    b = right(9)
    solution = conjugate_gradients(lambda v: a @ v, b, inner=lambda v: w * v, tolerance=1e-13)
    torch.testing.assert_close(w * solution.x, w * torch.linalg.solve(a, b), rtol=1e-9, atol=1e-10)


def test_a_null_space_is_projected_out():
    """A ring of springs: shifts cost nothing. What b has of them is dropped, be it all of b."""

    def springs(v):
        return 2 * v - v.roll(1, -1) - v.roll(-1, -1)

    def centred(v):
        return v - v.mean(-1, keepdim=True)

    b = torch.stack([right(9), torch.full((9,), 0.1, dtype=torch.float64)])
    x = conjugate_gradients(springs, b, project=centred, batch_axes=1, tolerance=1e-13).x
    torch.testing.assert_close(springs(x[0]), centred(b)[0])
    assert float(x.mean(-1).abs().max()) < 1e-15
    assert float(x[1].abs().max()) < 1e-15


def test_restarts_bound_the_memory_and_reach_the_same():
    a = matrices(1, 60)[0] + 0.2 * torch.triu(right(60, 60), 1) + torch.eye(60)
    b, shapes = right(60), []

    def product(v):
        shapes.append(v.shape)
        return a @ v

    whole = gmres(product, b)
    short = gmres(product, b, restart=12, max_iterations=400)
    assert short.iterations > whole.iterations
    torch.testing.assert_close(short.x, whole.x, rtol=1e-6, atol=1e-8)
    # no product is spent but one a cycle for the true residual
    assert len(shapes) <= (whole.iterations + 1) + short.iterations + -(-short.iterations // 12) + 1


def test_gmres_ends_early_where_the_krylov_space_is_small():
    a = torch.diag(torch.tensor([1.0, 1.0, 5.0, 5.0, 7.0]).double())
    solution = gmres(lambda v: a @ v, torch.ones(5).double())
    assert solution.iterations == 3
    torch.testing.assert_close(solution.x, 1 / a.diagonal())


@pytest.mark.parametrize("name", METHODS)
def test_failures_are_said(name):
    singular = torch.diag(torch.tensor([1.0, 2.0, 0.0]).double())
    with pytest.raises((NotConverged, Indefinite)):
        METHODS[name](lambda v: singular @ v, torch.ones(3).double(), where="test")
    a = matrices(1, 30)[0]
    with pytest.raises(
        NotConverged, match=r"test: a relative residual of .* after 2 iterations"
    ) as e:
        METHODS[name](lambda v: a @ v, right(30), max_iterations=2, where="test")
    assert e.value.iterations == 2
    assert e.value.residual > 1e-10
    with pytest.raises(NotFinite, match="right-hand side"):
        METHODS[name](lambda v: v, torch.tensor([1.0, torch.nan]))
    with pytest.raises(NotFinite, match="product"):
        METHODS[name](lambda v: v * torch.nan, torch.ones(2))


def test_a_saddle_point_is_told_from_slow_convergence():
    with pytest.raises(Indefinite):
        conjugate_gradients(lambda v: v * torch.tensor([1.0, -1.0]), torch.tensor([1.0, 2.0]))


def test_what_rounding_leaves_may_be_accepted():
    a = torch.diag(torch.logspace(0, 12, 12, dtype=torch.float64))
    options = {"tolerance": 1e-30, "max_iterations": 400}
    with pytest.raises(NotConverged):
        conjugate_gradients(lambda v: a.float() @ v, torch.ones(12), tolerance=0.0)
    solution = gmres(lambda v: a @ v, torch.ones(12).double(), accept=1e-8, **options)
    torch.testing.assert_close(solution.x, 1 / a.diagonal(), rtol=1e-3, atol=1e-8)
