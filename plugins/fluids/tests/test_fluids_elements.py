"""Finite elements: orders of convergence, known values, exact cases, gradients, a peer."""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.darcy.random_media import random_phase
from sfm_fluids.elements.advection_diffusion import AdvectionDiffusion
from sfm_fluids.elements.eigen import laplace_eigenvalues
from sfm_fluids.elements.elasticity import Elasticity
from sfm_fluids.elements.forms import Triangles, divergence, triangles
from sfm_fluids.elements.mesh import UNIT, Mesh, boundary_edges, l_shape, quadrilateral
from sfm_fluids.elements.space import Space
from sfm_fluids.elements.stokes import Stokes
from sfm_fluids.elements.system import solution
from sfm_fluids.elements.triangle import quadrature, shapes
from sfm_fluids.learned.mesh_correction import MeshCorrection, medium

from sfm.errors import InputError, RunError
from sfm.nn.descent import descend

PI = math.pi


def bent(n: int) -> Mesh:
    """A quadrilateral that is no parallelogram, with its inner points moved about."""
    mesh = quadrilateral(((0, 0), (1, 0.1), (1.2, 1), (-0.1, 0.9)), n, n)
    inner = torch.ones(len(mesh.points), dtype=torch.bool)
    inner[boundary_edges(mesh.triangles)] = False
    noise = torch.rand(mesh.points.shape, generator=torch.Generator().manual_seed(n)).double()
    points = mesh.points + inner[:, None] * (noise - 0.5) * 0.3 / n
    return Mesh(points, mesh.triangles, mesh.sides)


def norm(t: Triangles, space: Space, values: torch.Tensor, exact) -> float:
    """L2 norm of u - exact; exact is a function of places (..., 2)."""
    places = torch.einsum("qi,mix->mqx", shapes(1).values, space.mesh.points[space.mesh.triangles])
    u = torch.einsum("qi,mi...->mq...", t.values, values[space.cells])
    off = (u - exact(places)).square()
    off = off.sum(-1) if off.ndim == 3 else off
    return float((off * t.measure).detach().sum().sqrt())


def test_the_quadrature_is_exact_to_degree_four():
    """int x^i y^j over the reference triangle is i! j! / (i + j + 2)!."""
    points, weights = quadrature()
    for i in range(5):
        for j in range(5 - i):
            sum_ = 0.5 * (weights * points[:, 0] ** i * points[:, 1] ** j).sum()
            exact = math.factorial(i) * math.factorial(j) / math.factorial(i + j + 2)
            assert float(sum_) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("drift", [False, True])
def test_advection_diffusion_converges(degree, drift):
    """u = sin(pi x) cos(y) on a bent mesh; degree + 1 in L2."""
    b, c = ((3.0, -2.0), 1.5) if drift else ((0.0, 0.0), 0.0)

    def exact(p):
        return torch.sin(PI * p[..., 0]) * torch.cos(p[..., 1])

    def source(p):
        x, y = p.unbind(-1)
        u, ux = exact(p), PI * torch.cos(PI * x) * torch.cos(y)
        uy = -torch.sin(PI * x) * torch.sin(y)
        return 0.7 * (PI**2 + 1) * u + b[0] * ux + b[1] * uy + c * u

    errors = []
    for n in (8, 16):
        sim = AdvectionDiffusion(
            mesh=bent(n),
            degree=degree,
            diffusivity=0.7,
            velocity_x=b[0],
            velocity_y=b[1],
            reaction=c,
        )
        nodes = sim.space.nodes()
        state = sim.state()._replace(source=source(nodes), boundary=exact(nodes))
        u = sim(state).solution
        errors.append(norm(triangles(sim.space, state.points), sim.space, u, exact))
    assert math.log2(errors[0] / errors[1]) > degree + 0.75


def test_what_elements_can_say_is_solved_exactly():
    """A linear u through layers of two diffusivities: k u' is constant."""
    sim = AdvectionDiffusion(cells=4, degree=1, insulated="bottom,top", source_strength=0.0)
    x = sim.space.nodes()[:, 0]
    centre = sim.space.mesh.points[sim.space.cells].mean(1)[:, 0]
    state = sim.state()._replace(
        factor=torch.where(centre < 0.5, 1.0, 4.0).double(), boundary=(x == 1).double()
    )
    exact = torch.where(x < 0.5, 1.6 * x, 0.8 + 0.4 * (x - 0.5))
    assert (sim(state).solution - exact).abs().max() < 1e-13


def test_a_drift_that_the_mesh_does_not_resolve_is_said():
    sim = AdvectionDiffusion(cells=4, velocity_x=100.0)
    assert "layers oscillate" in sim.warnings(sim.state())[0]
    assert not AdvectionDiffusion(cells=4).warnings(sim.state())


def test_the_first_eigenvalue_of_the_l_shape():
    """9.6397238440219 (L. N. Trefethen and T. Betcke, Contemp. Math. 395, 297 (2006))."""
    exact = 9.6397238440219
    graded = [float(laplace_eigenvalues(l_shape(n, grading=2.0))[0]) - exact for n in (8, 16)]
    assert 0 < graded[1] < 1e-3
    plain = [float(laplace_eigenvalues(l_shape(n))[0]) - exact for n in (8, 16)]
    # u ~ r^(2/3) at the corner: lambda converges with the power 4/3 whatever the degree
    assert math.log2(plain[0] / plain[1]) == pytest.approx(4 / 3, abs=0.1)
    assert math.log2(graded[0] / graded[1]) > 2.5


def test_the_first_eigenvalue_of_the_l_shape_to_eight_digits():
    """Graded with the power 3 the corner is smooth to degree 2: h^4, so two meshes say the rest.

    9.6397238440219 is published (Trefethen and Betcke 2006); the tolerance is one in its eighth
    digit, which the extrapolation's next term, h^4.4, reaches at 64 cells to a unit length.
    """
    exact = 9.6397238440219
    coarse, fine = (float(laplace_eigenvalues(l_shape(n, grading=3.0))[0]) for n in (32, 64))
    assert math.log2((coarse - exact) / (fine - exact)) == pytest.approx(4, abs=0.05)
    assert (16 * fine - coarse) / 15 == pytest.approx(exact, abs=1.1e-7)


def test_eigenvalues_of_the_square_and_how_they_move():
    """2 pi^2; widening by s takes pi^2 / s^2 of it, so d/ds = -2 pi^2 at s = 1."""
    mesh = quadrilateral(UNIT, 12, 12)
    s = torch.ones((), dtype=torch.float64, requires_grad=True)
    points = torch.stack((mesh.points[:, 0] * s, mesh.points[:, 1]), -1)
    values = laplace_eigenvalues(mesh, 3, points=points)
    assert torch.allclose(
        values.detach(), PI**2 * torch.tensor([2.0, 5.0, 5.0]).double(), rtol=3e-4
    )
    (slope,) = torch.autograd.grad(values[0], s)
    assert float(slope) == pytest.approx(-2 * PI**2, rel=1e-3)


def test_cooks_membrane():
    """The middle of the right side rises by 23.96 (the value that the literature quotes)."""
    tip = {}
    for degree, cells in ((1, 8), (2, 8), (2, 24)):
        sim = Elasticity(degree=degree, cells=cells)
        tip[degree, cells] = float(sim.observe(sim(sim.state()))["tip_displacement"][1].detach())
    assert tip[2, 24] == pytest.approx(23.96, abs=0.01)
    assert abs(tip[2, 8] - 23.96) < 0.1
    assert tip[1, 8] < tip[2, 8]  # the linear triangle is too stiff


@pytest.mark.parametrize("plane", ["stress", "strain"])
@pytest.mark.parametrize("degree", [1, 2])
def test_a_sheet_that_is_stretched_linearly_at_its_edge_is_so_inside(plane, degree):
    """The patch test, without forces: a linear displacement is in the space, and solves."""
    sim = Elasticity(
        mesh=bent(3),
        degree=degree,
        plane=plane,
        poisson_ratio=0.3,
        young_modulus=2.0,
        clamped="left,right,top,bottom",
        loaded="",
    )
    stretch = torch.tensor([[0.02, 0.01], [-0.03, 0.015]], dtype=torch.float64)
    exact = sim.space.nodes() @ stretch.T
    u = solution(
        sim._stiffness(sim.state(), triangles(sim.space, sim.space.mesh.points)),
        sim.unknowns,
        torch.zeros(exact.numel()).double(),
        sim.fixed,
        exact.flatten(),
        where="patch test",
    )
    assert (u.reshape(-1, 2) - exact).abs().max() < 1e-14


def test_a_beam_bends_as_euler_and_timoshenko_say():
    """Tip of a cantilever, shear load P: P L^3 / (3 E I) + 6 P L / (5 G A), 10 long and 1 high."""
    sim = Elasticity(domain="beam", cells=3, poisson_ratio=0.0, traction_y=1e-3)
    tip = float(sim.observe(sim(sim.state()))["tip_displacement"][1].detach())
    inertia, shear = 1 / 12, 0.5
    assert tip == pytest.approx(1e-3 * 1000 / (3 * inertia) + 6e-3 * 10 / (5 * shear), rel=3e-3)


def test_work_of_the_load_is_twice_the_energy():
    sim = Elasticity(cells=4)
    state = sim(sim.state())
    load = sim.space.weights("right", state.points) / 16
    energy = sim.observe(state)["strain_energy"].detach()
    assert float(load @ state.displacement[:, 1].detach()) == pytest.approx(
        2 * float(energy), rel=1e-12
    )


def test_stokes_converges():
    """u = curl of sin^2(pi x) sin^2(pi y), p = cos(pi x) + y: orders 3 and 2."""

    def velocity(p):
        x, y = p.unbind(-1)
        u = torch.sin(PI * x) ** 2 * torch.sin(2 * PI * y) * PI
        return torch.stack((u, -torch.sin(2 * PI * x) * torch.sin(PI * y) ** 2 * PI), -1)

    def pressure(p):
        return torch.cos(PI * p[..., 0]) + p[..., 1] - 0.5

    def force(p):
        p = p.clone().requires_grad_()
        laplacians = []
        for u in velocity(p).unbind(-1):
            (g,) = torch.autograd.grad(u.sum(), p, create_graph=True)
            seconds = [torch.autograd.grad(g[:, i].sum(), p, retain_graph=True)[0] for i in (0, 1)]
            laplacians.append(seconds[0][:, 0] + seconds[1][:, 1])
        (slope,) = torch.autograd.grad(pressure(p).sum(), p)
        return (slope - 0.3 * torch.stack(laplacians, -1)).detach()

    errors = []
    for n in (8, 16):
        sim = Stokes(cells=n, viscosity=0.3, speed=0.0)
        state = sim(sim.state()._replace(force=force(sim.space.nodes())))
        t = triangles(sim.space, state.points)
        linear = Space.of(sim.space.mesh, 1)
        errors.append(
            (
                norm(t, sim.space, state.velocity, velocity),
                norm(triangles(linear, state.points), linear, state.pressure, pressure),
            )
        )
    orders = [math.log2(a / b) for a, b in zip(*errors, strict=True)]
    assert orders[0] == pytest.approx(3, abs=0.3)
    assert orders[1] > 1.7


@pytest.mark.parametrize("cells", [2, 3])
def test_a_channel_holds_its_parabola(cells):
    """p falls by 8 nu U / H^2 per length; exact, since both are in the spaces."""
    sim = Stokes(domain="channel", cells=cells, viscosity=0.5, speed=2.0)
    state = sim(sim.state())
    y = sim.space.nodes()[:, 1]
    assert (state.velocity[:, 0] - 8 * y * (1 - y)).abs().max() < 1e-12
    assert (state.pressure - 8 * (4 - state.points[:, 0])).abs().max() < 1e-10
    t = triangles(sim.space, state.points)
    b = divergence(t, shapes(1).values)
    local = state.velocity.flatten()[sim.unknowns[:, :12]]
    source = torch.zeros(len(state.points)).double()
    source.index_add_(0, sim.space.mesh.triangles.flatten(), (b @ local[..., None]).flatten())
    assert source.abs().max() < 1e-13  # mass is conserved against every test function


def test_second_derivatives_are_right():
    sim = AdvectionDiffusion(cells=2, degree=1, velocity_x=1.0)
    state = sim.state()

    way = torch.linspace(0.1, 1, len(state.factor), dtype=torch.float64)

    def run(x):
        return sim(state._replace(factor=1 + x * way)).solution.square().sum()

    x = torch.full((), 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(run, (x,))


def test_the_places_of_points_have_gradients():
    """A stretch of the whole square by s at u'' = -1: the integral is s^4 times that of s = 1."""
    sim = AdvectionDiffusion(cells=4)
    state = sim.state()
    s = torch.ones((), dtype=torch.float64, requires_grad=True)
    value = sim.observe(sim(state._replace(points=state.points * s)))["mesh_integral"]
    (slope,) = torch.autograd.grad(value, s)
    assert float(slope) == pytest.approx(4 * float(value.detach()), rel=1e-9)


def test_scikit_fem_says_the_same():
    """The same forms, assembled by scikit-fem on the same mesh."""
    skfem = pytest.importorskip("skfem", reason="the peer scikit-fem")
    import numpy as np
    from skfem.helpers import dot, grad
    from skfem.models.elasticity import lame_parameters, linear_elasticity

    mesh = bent(5)
    peer = skfem.MeshTri(mesh.points.T.numpy(), mesh.triangles.T.numpy())
    basis = skfem.Basis(peer, skfem.ElementTriP2())
    a = skfem.BilinearForm(
        lambda u, v, _: 0.7 * dot(grad(u), grad(v)) + (3 * grad(u)[0] - 2 * grad(u)[1]) * v
    ).assemble(basis)
    f = skfem.LinearForm(lambda v, _: 1.0 * v).assemble(basis)
    theirs = skfem.solve(*skfem.condense(a, f, D=basis.get_dofs()))
    sim = AdvectionDiffusion(mesh=mesh, diffusivity=0.7, velocity_x=3.0, velocity_y=-2.0)
    ours = sim(sim.state()).solution.detach().numpy()
    n = len(mesh.points)
    assert np.abs(ours[:n] - theirs[basis.nodal_dofs[0]]).max() < 1e-13

    vector = skfem.Basis(peer, skfem.ElementVector(skfem.ElementTriP2()))
    k = linear_elasticity(*lame_parameters(2.0, 0.3)).assemble(vector)
    g = skfem.LinearForm(lambda v, _: 0.1 * v[0] - 0.2 * v[1]).assemble(vector)
    theirs = skfem.solve(*skfem.condense(k, g, D=vector.get_dofs()))
    sim = Elasticity(
        mesh=mesh,
        plane="strain",
        young_modulus=2.0,
        poisson_ratio=0.3,
        loaded="",
        clamped="left,right,top,bottom",
        body_force_x=0.1,
        body_force_y=-0.2,
    )
    ours = sim(sim.state()).displacement.detach().numpy()
    assert np.abs(ours[:n].T - theirs[vector.nodal_dofs]).max() < 1e-13


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdvectionDiffusion(insulated="lid"), "no side 'lid'"),
        (lambda: AdvectionDiffusion(insulated="left,right,top,bottom"), "up to a constant"),
        (lambda: Stokes(outflow="left,right,top,bottom"), "all sides are outflows"),
        (lambda: Elasticity(clamped=""), "nothing holds"),
        (lambda: Elasticity(cells=0), "at least 1 x 1"),
        (lambda: Stokes(outflow="east"), "no side 'east'"),
        (lambda: Mesh(torch.zeros(3, 2), torch.tensor([[0, 1, 2]])), "no area"),
        (lambda: Mesh(torch.zeros(3, 2), torch.tensor([[0, 1, 7]])), "must name some"),
        (lambda: Space.of(l_shape(1), 3), "degree 3"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_mesh_comes_from_a_file(tmp_path):
    """As gmsh writes it: named lines, some triangles clockwise, points that nothing uses."""
    meshio = pytest.importorskip("meshio", reason="the package meshio")
    grid = quadrilateral(UNIT, 4, 4)
    corners = grid.triangles.numpy().copy()
    corners[::2] = corners[::2, ::-1]
    points = torch.cat((grid.points, torch.full((1, 2), 9.0))).numpy()
    lines = grid.sides["right"].numpy()
    mesh = meshio.Mesh(
        points,
        [("line", lines), ("triangle", corners)],
        cell_data={
            "gmsh:physical": [[7] * len(lines), [8] * len(corners)],
            "gmsh:geometrical": [[1] * len(lines), [1] * len(corners)],
        },
        field_data={"exit": torch.tensor([7, 1]).numpy(), "body": torch.tensor([8, 2]).numpy()},
    )
    mesh.write(tmp_path / "square.msh", file_format="gmsh22")
    values = []
    for options in (
        {"mesh_file": str(tmp_path / "square.msh"), "insulated": "exit"},
        {"cells": 4, "insulated": "right"},
    ):
        sim = AdvectionDiffusion(**options)
        values.append(float(sim.observe(sim(sim.state()))["mesh_integral"].detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.msh", None, "no such file"),
        ("bad.msh", "no mesh\n", "reads no mesh"),
        ("odd.xyzzy", "1 2 3\n", "reads no mesh"),
    ],
)
def test_files_without_a_mesh_are_one_line(tmp_path, name, text, message):
    pytest.importorskip("meshio", reason="the package meshio")
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        Stokes(mesh_file=str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_states_that_cannot_be_are_refused():
    sim = AdvectionDiffusion(cells=2)
    state = sim.state()
    with pytest.raises(InputError, match="positive on every triangle"):
        sim(state._replace(factor=-state.factor))
    with pytest.raises(InputError, match="turned over"):
        sim(state._replace(points=-state.points.flip(1)))


@pytest.mark.parametrize("cells", [2, 16])
def test_a_system_that_nothing_fixes_is_refused(cells):
    """A reaction that vanishes after the sides were looked at: only the factors can tell."""
    free = AdvectionDiffusion(cells=cells, insulated="left,right,top,bottom", reaction=1.0)
    assert torch.allclose(free(free.state()).solution, torch.ones(1).double())
    free.reaction.data.zero_()
    with pytest.raises(RunError, match="fix the solution"):
        free(free.state())


def test_a_coarse_mesh_learns_from_a_fine_one():
    """Training through the solver lowers the error of media; the correction turns with the mesh."""
    fine = AdvectionDiffusion(cells=16, degree=1).requires_grad_(False)
    coarse = AdvectionDiffusion(cells=4, degree=1).requires_grad_(False)
    centres = fine.space.mesh.points[fine.space.mesh.triangles].mean(1)
    cases = []
    for seed in range(3):
        column, row = (16 * centres).long().unbind(1)
        a = 1 + 19 * random_phase(16, 16, seed, 12.0)[row, column]
        exact = fine(fine.state()._replace(factor=a)).solution.reshape(17, 17)[::4, ::4].flatten()
        cases.append((medium(coarse.space.mesh, centres, a), exact))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MeshCorrection(width=8, rounds=2)
    assert torch.equal(network.factor(cases[0][0]), cases[0][0].log_mean.exp())  # it starts at 0

    def loss(_):
        off = [
            (coarse(coarse.state()._replace(factor=network.factor(m))).solution - u).norm()
            / u.norm()
            for m, u in cases
        ]
        return torch.stack(off).mean()

    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = descend(network, loss, work="test", steps=40, optimizer=optimizer).losses
    assert losses[-1] < 0.85 * losses[0]

    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    mesh = coarse.space.mesh
    turned = Mesh(3 * mesh.points @ turn.T + 7, mesh.triangles, mesh.sides)
    column, row = (16 * centres).long().unbind(1)
    a = 1 + 19 * random_phase(16, 16, 0, 12.0)[row, column]
    again = network(medium(turned, 3 * centres @ turn.T + 7, a))
    assert (again - network(cases[0][0])).abs().max() < 1e-5


def test_a_medium_that_a_mesh_cannot_hold_is_refused():
    mesh = quadrilateral(UNIT, 2, 2)
    with pytest.raises(InputError, match="holds no cell"):
        medium(mesh, mesh.points[:1], torch.ones(1).double())
    with pytest.raises(InputError, match="must be positive"):
        medium(mesh, mesh.points[:1], torch.zeros(1).double())
