"""Gaussian integrals in torch against libcint, mpmath and quadrature, every shell up to l = 5."""

import mpmath
import numpy as np
import pytest
import torch
from pyscf import df, dft, gto
from sfm_dft import integrals
from sfm_dft.grid.becke import becke_weights, size_adjustment
from sfm_dft.integrals import Shells, batches, boys
from sfm_dft.integrals.orbitals import displacements, orbital_values
from sfm_dft.integrals.shells import solid_harmonics

from sfm.errors import InputError

CLOSE = 1e-11


def molecule(degrees, seed, atoms=3, positions=None, primitives=2):
    """Hydrogens at random places with one contracted shell of each degree, exponents at random."""
    rng = np.random.default_rng(seed)
    shells = [
        [
            degree,
            *([np.exp(rng.uniform(-1.5, 2.5)), rng.uniform(0.3, 1.0)] for _ in range(primitives)),
        ]
        for degree in degrees
    ]
    if positions is None:
        positions = rng.normal(size=(atoms, 3)) * 1.3
    atom = [("H", tuple(place)) for place in positions]
    return gto.M(atom=atom, basis={"H": shells}, spin=len(atom) % 2, unit="Bohr", verbose=0)


def auxiliary(on, degrees, seed):
    return molecule(degrees, seed, positions=on.atom_coords())


def assert_close(values, expected, tolerance=CLOSE):
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("order", [0, 3, 8, 15])
def test_boys_function_equals_mpmath(order):
    x = np.concatenate([[0.0, 1e-12, 1e-6], np.linspace(0.01, 99.0, 83), [300.0, 4e4]])
    values = boys(torch.tensor(x), order)
    assert values.shape == (order + 1, len(x))
    for n in range(order + 1):
        for at, value in zip(x, values[n].tolist(), strict=True):
            a = mpmath.mpf(n) + 0.5
            exact = 1 / (2 * a) if at == 0 else mpmath.gammainc(a, 0, at) / (2 * at**a)
            assert abs(value / exact - 1) < 1e-14


def test_boys_derivative_is_the_next_order_also_at_zero_and_where_the_table_ends():
    x = torch.tensor([0.0, 1e-9, 0.3, 49.99, 50.01, 200.0], dtype=torch.float64)
    x.requires_grad_()
    values = boys(x, 4)
    (slope,) = torch.autograd.grad(values[4].sum(), x, create_graph=True)
    torch.testing.assert_close(slope, -boys(x, 5)[5], rtol=2e-14, atol=0)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(curvature, boys(x, 6)[6], rtol=2e-14, atol=0)


@pytest.mark.parametrize("degree", range(6))
def test_solid_harmonics_equal_pyscf(degree):
    reference = gto.mole.cart2sph(degree)
    np.testing.assert_allclose(solid_harmonics(degree).numpy(), reference, atol=1e-14)


@pytest.mark.parametrize("right", range(6))
@pytest.mark.parametrize("left", range(6))
def test_one_electron_integrals_of_every_pair_of_shells(left, right):
    if right > left:
        return
    mol = molecule((left, right), seed=10 * left + right)
    shells = Shells.of(mol)
    charges = torch.tensor(mol.atom_charges(), dtype=torch.float64)
    assert_close(integrals.overlap(shells), mol.intor("int1e_ovlp"))
    assert_close(integrals.kinetic(shells), mol.intor("int1e_kin"))
    assert_close(integrals.dipole(shells), mol.intor("int1e_r"))
    assert_close(integrals.nuclear(shells, charges), mol.intor("int1e_nuc"))


@pytest.mark.parametrize("degree", range(6))
def test_coulomb_integrals_of_every_auxiliary_shell(degree):
    """All orbital shells up to g at once; auxiliary shells one degree against all others."""
    mol = molecule((0, 1, 2, 3, 4), seed=degree, atoms=2, primitives=1)
    aux = auxiliary(mol, sorted({degree, 0, 5}), seed=50 + degree)
    shells, other = Shells.of(mol), Shells.of(aux)
    assert_close(integrals.two_centre(other), aux.intor("int2c2e"))
    assert_close(integrals.three_centre(shells, other), df.incore.aux_e2(mol, aux, "int3c2e"))


def test_three_centre_overlap():
    mol = molecule((0, 1, 2), seed=3)
    aux = auxiliary(mol, (0, 1, 2), seed=4)
    overlaps = integrals.three_centre_overlap(Shells.of(mol), Shells.of(aux))
    assert_close(overlaps, df.incore.aux_e2(mol, aux, "int3c1e"))


def test_three_centre_overlap_of_high_shells_by_quadrature():
    """libcint loses digits here (4e-11 at f f g); Gauss-Hermite quadrature is exact."""
    mol = molecule((3, 4), seed=5, primitives=1)
    aux = molecule((4, 5), seed=6, positions=mol.atom_coords(), primitives=1)
    overlaps = integrals.three_centre_overlap(Shells.of(mol), Shells.of(aux)).numpy()
    nodes, weights = np.polynomial.hermite.hermgauss(12)
    cube = np.stack(np.meshgrid(nodes, nodes, nodes), -1).reshape(-1, 3)
    volume = np.einsum("i,j,k->ijk", weights, weights, weights).ravel()
    for shells in ((0, 3, 4), (1, 5, 3), (2, 2, 1), (0, 1, 5)):
        three = list(zip((mol, mol, aux), shells, strict=True))
        exponents = np.array([m.bas_exp(k)[0] for m, k in three])
        total = exponents.sum()
        points = exponents @ [m.bas_coord(k) for m, k in three] / total + cube / np.sqrt(total)
        measure = volume * np.exp((cube**2).sum(1)) / total**1.5
        spans = [slice(m.ao_loc[k], m.ao_loc[k + 1]) for m, k in three]
        values = [
            m.eval_gto("GTOval", points)[:, at] for (m, _), at in zip(three, spans, strict=True)
        ]
        quadrature = np.einsum("g,gi,gj,gk->ijk", measure, *values)
        np.testing.assert_allclose(overlaps[tuple(spans)], quadrature, rtol=0, atol=1e-12)


@pytest.mark.parametrize("basis", ["sto-3g", "6-31g*", "cc-pvtz", "def2-tzvpp"])
def test_tabulated_bases_general_contractions_included(basis):
    atoms = "O 0 0 0.1; C 0.2 0.1 1.3; H 0.9 -0.5 1.8"
    mol = gto.M(atom=atoms, basis=basis, spin=1, verbose=0)
    aux = df.make_auxmol(mol, "def2-universal-jfit")
    shells, other = Shells.of(mol), Shells.of(aux)
    charges = torch.tensor(mol.atom_charges(), dtype=torch.float64)
    assert_close(integrals.overlap(shells), mol.intor("int1e_ovlp"))
    assert_close(integrals.kinetic(shells), mol.intor("int1e_kin"))
    assert_close(integrals.nuclear(shells, charges), mol.intor("int1e_nuc"))
    repulsion = integrals.three_centre(shells, other)
    assert_close(repulsion, df.incore.aux_e2(mol, aux, "int3c2e"))
    factors = integrals.fitted_factors(shells, other)
    assert factors.shape == (aux.nao, mol.nao, mol.nao)
    solved = torch.linalg.solve(integrals.two_centre(other), repulsion[3, 4])
    product = torch.einsum("pij,p->ij", factors, factors[:, 3, 4])
    torch.testing.assert_close(product, repulsion @ solved, rtol=0, atol=1e-9)


def test_every_integral_moves_as_libcints_derivative_integrals():
    mol = molecule((0, 1, 2, 3), seed=8, primitives=1)
    aux = auxiliary(mol, (0, 2, 4), seed=9)
    shells, other = Shells.of(mol), Shells.of(aux)
    charges = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    direction = torch.tensor(np.random.default_rng(0).normal(size=(3, 3)))
    mine = np.concatenate(
        [np.full(2 * mol.bas_angular(i) + 1, mol.bas_atom(i)) for i in range(mol.nbas)]
    )
    theirs = np.concatenate(
        [np.full(2 * aux.bas_angular(i) + 1, aux.bas_atom(i)) for i in range(aux.nbas)]
    )
    move, move_aux = direction.numpy()[mine].T, direction.numpy()[theirs].T

    def along(function):
        """Derivative along `direction`."""
        zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value = function(shells.positions + zero * direction)
        probe = torch.zeros_like(value, requires_grad=True)
        (back,) = torch.autograd.grad(value, zero, probe, create_graph=True)
        return torch.autograd.grad(back, probe)[0]

    def by_bra(name):
        half = np.einsum("xij,xi->ij", mol.intor(name), move)
        return -(half + half.T)

    assert_close(along(lambda r: integrals.overlap(shells.at(r))), by_bra("int1e_ipovlp"))
    assert_close(along(lambda r: integrals.kinetic(shells.at(r))), by_bra("int1e_ipkin"), 1e-10)
    nuclear = by_bra("int1e_ipnuc")
    for atom in range(3):
        with mol.with_rinv_at_nucleus(atom):
            rinv = np.einsum("xij,x->ij", mol.intor("int1e_iprinv"), direction.numpy()[atom])
        nuclear -= rinv + rinv.T
    assert_close(along(lambda r: integrals.nuclear(shells.at(r), charges)), nuclear)
    two = np.einsum("xpq,xp->pq", aux.intor("int2c2e_ip1"), move_aux)
    assert_close(along(lambda r: integrals.two_centre(other.at(r))), -(two + two.T), 1e-10)
    bra = df.incore.aux_e2(mol, aux, "int3c2e_ip1")
    ket = df.incore.aux_e2(mol, aux, "int3c2e_ip2")
    three = np.einsum("xijp,xi->ijp", bra, move)
    three = -(three + three.transpose(1, 0, 2) + np.einsum("xijp,xp->ijp", ket, move_aux))
    assert_close(along(lambda r: integrals.three_centre(shells.at(r), other.at(r))), three)


@pytest.mark.parametrize("coincident", [False, True])
def test_gradients_by_finite_differences(coincident, monkeypatch):
    """By positions, exponents, coefficients and charges; in one piece and in many; twice."""
    places = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3] if coincident else [-0.4, 0.9, 1.1]])
    mol = molecule((0, 1), seed=1, positions=places)
    aux = molecule((0, 2), seed=2, positions=places)
    shells, other = Shells.of(mol), Shells.of(aux)
    start = [shells.positions, *(b.exponents for b in shells.blocks)]
    start += [b.coefficients for b in shells.blocks]
    start.append(torch.tensor([1.0, 2.5], dtype=torch.float64))
    weight = torch.tensor(np.random.default_rng(3).normal(size=(mol.nao, mol.nao, aux.nao)))

    def changed(r, e0, e1, c0, c1):
        blocks = [
            type(b)(b.degree, b.atoms, b.shell, e, c, b.offsets)
            for b, e, c in zip(shells.blocks, (e0, e1), (c0, c1), strict=True)
        ]
        return Shells(r, tuple(blocks), shells.size)

    def everything(*inputs):
        now = changed(*inputs[:5])
        pair = weight[..., 0]
        return (
            (integrals.overlap(now) * pair).sum(),
            (integrals.kinetic(now) * pair).sum(),
            (integrals.dipole(now) * pair).sum(),
            (integrals.nuclear(now, inputs[5]) * pair).sum(),
            (integrals.three_centre(now, other.at(inputs[0])) * weight).sum(),
            (integrals.three_centre_overlap(now, other.at(inputs[0])) * weight).sum(),
            integrals.two_centre(other.at(inputs[0])).square().sum(),
        )

    rng = np.random.default_rng(4)
    ways = [torch.tensor(rng.normal(size=x.shape)) for x in start]

    def along(amounts):
        """Each input moved its own way."""
        moved = [x + t * way for x, t, way in zip(start, amounts, ways, strict=True)]
        return torch.stack(everything(*moved))

    amounts = torch.zeros(len(start), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(along, amounts, eps=1e-5, atol=1e-7, rtol=1e-6)
    whole = torch.autograd.functional.jacobian(along, amounts)
    monkeypatch.setattr(batches, "PIECE_BYTES", 20_000)
    torch.testing.assert_close(torch.autograd.functional.jacobian(along, amounts), whole)
    if not coincident:

        def by_position(t):
            r = shells.positions + t * ways[0]
            return (integrals.three_centre(shells.at(r), other.at(r)) * weight).sum()

        zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(by_position, zero, atol=1e-6)


def test_pieces_do_not_change_the_result(monkeypatch):
    mol = gto.M(atom="O 0 0 0.1; C 0.2 0.1 1.3", basis="def2-svp", verbose=0)
    other = Shells.of(df.make_auxmol(mol, "def2-universal-jfit"))
    shells = Shells.of(mol)
    whole = integrals.three_centre(shells, other)
    monkeypatch.setattr(batches, "PIECE_BYTES", 200_000)
    torch.testing.assert_close(integrals.three_centre(shells, other), whole, rtol=0, atol=1e-13)


def test_normalisation_follows_exponents_and_coefficients():
    shells = Shells.of(gto.M(atom="O", basis="cc-pvdz", verbose=0))
    block = shells.blocks[0]
    other = type(block)(
        block.degree,
        block.atoms,
        block.shell,
        1.3 * block.exponents,
        -2.0 * block.coefficients,
        block.offsets,
    )
    diagonal = integrals.overlap(Shells(shells.positions, (other,), 3)).diagonal()
    torch.testing.assert_close(diagonal, torch.ones_like(diagonal))


def test_orbital_values_and_gradients_equal_pyscf():
    mol = molecule((0, 1, 2, 3, 4, 5), seed=11)
    points = np.random.default_rng(1).normal(size=(200, 3)) * 2.0
    points[0] = mol.atom_coord(1)  # a point on a nucleus
    shells = Shells.of(mol)
    orbitals = orbital_values(
        shells, displacements(shells.positions, torch.tensor(points)), gradient=True
    )
    reference = dft.numint.eval_ao(mol, points, deriv=1)
    assert_close(orbitals.mT, reference, 1e-12)


@pytest.mark.parametrize("prune", [True, False])
def test_becke_weights_equal_pyscf(prune):
    mol = gto.M(atom="O 0 0 .1; C 1 .3 .2; H -1 1 .5; Li 2 1 3", basis="sto-3g", verbose=0)
    grid = dft.gen_grid.Grids(mol)
    grid.level = 0
    if not prune:
        grid.prune = None
    grid.build()
    positions = torch.tensor(mol.atom_coords())
    shift = displacements(positions, torch.tensor(grid.coords))
    owners = torch.tensor(grid.atm_idx).long().clamp(min=0)
    numbers = torch.tensor(mol.atom_charges()).long()
    weights = becke_weights(
        shift, positions, size_adjustment(numbers), owners, torch.tensor(grid.quadrature_weights)
    )
    assert_close(weights, grid.weights, 1e-11)


def test_what_is_not_supported_is_refused():
    with pytest.raises(InputError, match="spherical"):
        Shells.of(gto.M(atom="He", basis="def2-svp", cart=True, verbose=0))
    with pytest.raises(InputError, match="core potentials"):
        Shells.of(gto.M(atom="Ag", basis="lanl2dz", ecp="lanl2dz", spin=1, verbose=0))
    with pytest.raises(InputError, match="l=6"):
        Shells.of(gto.M(atom="He", basis={"He": [[6, [1.0, 1.0]]]}, verbose=0))


def test_made_under_inference_mode_they_still_differentiate():
    """Cached constants must not be inference tensors."""
    solid_harmonics.cache_clear()
    mol = molecule((0, 1, 2), seed=12)
    shells = Shells.of(mol)
    with torch.inference_mode():
        integrals.two_centre(shells)
    r = shells.positions.clone().requires_grad_()
    integrals.two_centre(shells.at(r)).sum().backward()
    assert torch.isfinite(r.grad).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu():
    mol = gto.M(atom="O 0 0 0.1; C 0.2 0.1 1.3", basis="def2-svp", verbose=0)
    aux = df.make_auxmol(mol, "def2-universal-jfit")
    charges = torch.tensor([8.0, 6.0], dtype=torch.float64)
    runs = []
    for device in ("cpu", "cuda"):
        shells, other = Shells.of(mol, device=device), Shells.of(aux, device=device)
        r = shells.positions.clone().requires_grad_()
        value = integrals.fitted_factors(shells.at(r), other.at(r))
        core = integrals.nuclear(shells.at(r), charges.to(device))
        core = core + integrals.kinetic(shells.at(r)) + integrals.overlap(shells.at(r))
        (back,) = torch.autograd.grad(value.square().sum() + core.square().sum(), r)
        runs.append((value.detach().cpu(), core.detach().cpu(), back.cpu()))
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
