"""Implicit derivatives: analytic cases, gradcheck of every mode and order, honest refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from sfm.errors import InputError, RunError
from sfm.simulate.fixed_point import attach, implicit
from sfm.simulate.linear_solve import solve

# torch's own first use of forward mode compiles with a deprecated torch.jit
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def leaf(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def cosine(theta: Tensor, **options) -> Tensor:
    """x = cos(theta x), each element alone."""
    x = torch.full_like(theta, 0.7).detach()
    for _ in range(200):
        x = torch.cos(theta.detach() * x)
    return implicit(x, lambda x: x - torch.cos(theta * x), **options)


def test_the_dottie_number_and_its_derivatives():
    """x = cos(theta x): dx = -s x / (1 + theta s) with s = sin(theta x), and the second by hand."""
    theta = leaf(1.0)
    x = cosine(theta, order=2)
    assert abs(float(x.detach()) - 0.7390851332151607) < 1e-10
    (first,) = torch.autograd.grad(x.sum(), theta, create_graph=True)
    v, s, c = float(x.detach()), math.sin(float(x.detach())), math.cos(float(x.detach()))
    slope = -v * s / (1 + s)
    assert abs(float(first.detach()) - slope) < 1e-10
    (second,) = torch.autograd.grad(first.sum(), theta)
    # x' = -sin(tx) (x + t x'), once more: x'' (1 + t s) = -c (x + t x')^2 - 2 s x'
    assert abs(float(second) - (-c * (v + slope) ** 2 - 2 * s * slope) / (1 + s)) < 1e-10


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("improve", [False, True])
def test_derivatives_up_to_the_order_are_right_and_one_more_is_refused(order, improve):
    theta = leaf(1.0)
    value = cosine(theta, order=order, improve=improve)
    h = 1e-2  # of central differences of the solution itself
    points = torch.arange(-3, 4).double() * h + 1.0
    y = cosine(points).tolist()
    stencils = {
        1: (y[4] - y[2]) / (2 * h) - (y[5] - 2 * y[4] + 2 * y[2] - y[1]) / (12 * h),
        2: (-y[5] + 16 * y[4] - 30 * y[3] + 16 * y[2] - y[1]) / (12 * h**2),
        3: (-y[6] + 8 * y[5] - 13 * y[4] + 13 * y[2] - 8 * y[1] + y[0]) / (8 * h**3),
    }
    for k in range(1, order + 1):
        (value,) = torch.autograd.grad(value.sum(), theta, create_graph=True)
        assert abs(float(value.detach()) - stencils[k]) < 1e-6
    with pytest.raises(InputError, match="higher derivative"):
        torch.autograd.grad(value.sum(), theta)


class Coupled:
    """x = tanh(A x + b) in batches: no symmetry, and A contracts."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.a, self.b = a, b

    def residual(self, x: Tensor) -> Tensor:
        return x - torch.tanh((self.a @ x[..., None])[..., 0] + self.b)

    def detached(self) -> Tensor:
        with torch.no_grad():
            x = torch.zeros_like(self.b)
            for _ in range(60):
                x = x - self.residual(x)
        return x

    def solution(self, **options) -> Tensor:
        return implicit(self.detached(), self.residual, batch_axes=1, **options)

    def dense(self, x: Tensor) -> Tensor:
        slope = 1 - (x - self.residual(x)).square()
        return torch.eye(x.shape[-1]).double() - slope[..., None] * self.a


def coupled() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    a = 0.3 * torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    b = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    return a.requires_grad_(), b.requires_grad_()


def given(a: Tensor, b: Tensor) -> Tensor:
    """The same with the caller's own dense solves."""
    problem = Coupled(a, b)
    with torch.no_grad():
        j = problem.dense(problem.detached())

    def by(matrix: Tensor, v: Tensor) -> Tensor:
        return torch.linalg.solve(matrix, v[..., None])[..., 0]

    return problem.solution(solve=lambda v: by(j, v), adjoint=lambda v: by(j.mT, v), order=2)


@forward_mode
def test_gradcheck_and_gradgradcheck_matrix_free_and_with_given_solves():
    inputs = coupled()
    assert gradcheck(lambda a, b: Coupled(a, b).solution(), inputs, fast_mode=True)
    assert gradgradcheck(lambda a, b: Coupled(a, b).solution(order=2), inputs, fast_mode=True)
    assert gradcheck(given, inputs, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(given, inputs, check_fwd_over_rev=True, fast_mode=True)


@forward_mode
def test_function_transforms_take_given_solves():
    a, b = (x.detach() for x in coupled())
    jacobian = torch.autograd.functional.jacobian(lambda b: Coupled(a, b).solution(), b)
    eye = torch.eye(4).double().reshape(4, 2, 2)
    rows = [torch.func.vjp(lambda b: given(a, b), b)[1](row)[0] for row in eye]
    torch.testing.assert_close(torch.stack(rows).view(2, 2, 2, 2), jacobian)
    column = torch.func.jvp(lambda b: given(a, b), (b,), (eye[3],))[1]
    torch.testing.assert_close(column, jacobian[..., 1, 1])
    with pytest.raises(InputError, match=r"torch\.func"):
        torch.func.grad(lambda b: Coupled(a, b).solution().sum())(b)


def test_a_minimum_with_a_symmetric_hessian_and_parameters_in_a_module():
    """argmin of |x|^4 / 4 + x.Q x / 2 - w.x: derivative by w is the inverse Hessian."""
    q = torch.diag(torch.tensor([1.0, 2.0, 3.0]).double())
    w = leaf(0.3, -0.8, 1.1)

    def slope(x: Tensor) -> Tensor:
        return x.square().sum() * x + q @ x - w

    x = torch.zeros(3).double()
    for _ in range(60):
        with torch.no_grad():
            n = x.square().sum()
            hessian = n * torch.eye(3) + 2 * x[:, None] * x + q
            x = x - torch.linalg.solve(hessian, slope(x))
    calls = []

    def inverse(v: Tensor) -> Tensor:
        calls.append(1)
        return torch.linalg.solve(hessian, v)

    minimum = implicit(x, slope, adjoint=inverse, symmetric=True)
    assert torch.equal(minimum.detach(), x)
    (row,) = torch.autograd.grad(minimum[1], w)
    torch.testing.assert_close(row, torch.linalg.inv(hessian)[1])
    assert len(calls) == 1


def test_the_graph_is_one_residual_and_none_without_gradients():
    theta = leaf(1.0)
    with torch.no_grad():
        assert not cosine(theta).requires_grad
    assert not cosine(theta.detach()).requires_grad
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        cosine(theta)
    assert len(kept) <= 8  # two evaluations of the residual, whatever the 200 iterations


def test_a_singular_jacobian_is_said():
    theta = leaf(0.0, 1.0)
    x = implicit(torch.zeros(2).double(), lambda x: x.square() - theta * 0, where="test")
    with pytest.raises(RunError, match="test: a relative residual"):
        x.sum().backward()
    with pytest.raises(InputError, match="order=0"):
        implicit(torch.zeros(2), lambda x: x, order=0)


def test_a_known_response_is_attached():
    """The lowest eigenvector's projector to its matrix, by perturbation theory, twice refused."""
    m = torch.diag(torch.tensor([1.0, 2.0, 4.0]).double()).requires_grad_()

    def projector(h: Tensor) -> Tensor:
        e, c = torch.linalg.eigh(h.detach())
        gaps = torch.where(torch.arange(3) > 0, e - e[0], torch.inf)

        def adjoint(g: Tensor) -> Tensor:
            inner = c.mT @ (g + g.mT) @ c
            first = torch.zeros_like(inner)
            first[0] = -inner[0] / gaps
            return c @ (0.5 * (first + first.mT)) @ c.mT

        return attach(c[:, :1] @ c[:, :1].mT, h, adjoint, where="projector")

    assert gradcheck(lambda h: projector(0.5 * (h + h.mT)), (m,))
    (slope,) = torch.autograd.grad(projector(m)[0, 1], m, create_graph=True)
    with pytest.raises(InputError, match="projector: a higher derivative"):
        torch.autograd.grad(slope.sum(), m)
    with (
        pytest.raises(InputError, match="projector: forward mode"),
        torch.autograd.forward_ad.dual_level(),
    ):
        projector(torch.autograd.forward_ad.make_dual(m.detach(), torch.ones(3, 3).double()))


# --- linear systems -----------------------------------------------------------------------------


def system() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    a = torch.eye(3).double() + 0.3 * torch.randn(2, 3, 3, generator=generator).double()
    return a.requires_grad_(), torch.randn(2, 3, generator=generator).double().requires_grad_()


@pytest.mark.parametrize("symmetric", [False, True])
@forward_mode
def test_linear_solves_pass_gradcheck_and_gradgradcheck(symmetric):
    def answer(a: Tensor, b: Tensor, order: int = 2) -> Tensor:
        a = a @ a.mT if symmetric else a
        return solve(
            lambda v: (a @ v[..., None])[..., 0],
            b,
            symmetric=symmetric,
            batch_axes=1,
            order=order,
            tolerance=1e-13,
        )

    inputs = system()
    a = inputs[0] @ inputs[0].mT if symmetric else inputs[0]
    exact = torch.linalg.solve(a, inputs[1][..., None])[..., 0]
    torch.testing.assert_close(answer(*inputs), exact)
    assert gradcheck(answer, inputs, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(answer, inputs, fast_mode=True)
    weights = torch.linspace(-1, 1, 6).double().view(2, 3)
    dense = torch.autograd.grad((weights * exact).sum(), inputs)
    slopes = torch.autograd.grad((weights * answer(*inputs, order=1)).sum(), inputs)
    for x, y in zip(slopes, dense, strict=True):
        torch.testing.assert_close(x, y)


def test_a_linear_solve_takes_its_adjoint_and_preconditioners():
    """A convection-diffusion stencil with its transpose and the inverse diagonal written out."""
    speed, b = leaf(0.8), torch.ones(20).double()
    calls = {"plain": 0, "transposed": 0}

    def product(v: Tensor) -> Tensor:
        calls["plain"] += 1
        before, after = torch.nn.functional.pad(v, (1, 1)).unfold(0, 20, 2).unbind()
        return 2.5 * v - (1 + speed) * before - (1 - speed) * after

    def transposed(v: Tensor) -> Tensor:
        calls["transposed"] += 1
        before, after = torch.nn.functional.pad(v, (1, 1)).unfold(0, 20, 2).unbind()
        return 2.5 * v - (1 + speed) * after - (1 - speed) * before

    def answer() -> Tensor:
        return solve(
            product,
            b,
            transposed=transposed,
            precondition=lambda v: v / 2.5,
            precondition_transposed=lambda v: v / 2.5,
        )

    (slope,) = torch.autograd.grad(answer().sum(), speed)
    assert calls["transposed"] > 2
    ends = []
    for change in (1e-5, -1e-5):
        with torch.no_grad():
            speed += change
            ends.append(float(answer().sum()))
            speed -= change
    assert abs(float(slope) - (ends[0] - ends[1]) / 2e-5) < 1e-6
