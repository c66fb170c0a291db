"""The atom-centred basis in which this domain writes electron densities.

    rho(r) ~ sum_A sum_k c_Ak phi_k(r - R_A),   phi_k = N r^l exp(-a_k r^2) Y_lm

with the same even-tempered exponents on every element: ten s, five p and four d functions, 45
coefficients per atom, i.e. the irreps ``10x0e+5x1o+4x2e`` that the trunk reads and writes. Two
descriptions of a density use it:

- *coefficients* c: the Coulomb-metric fit with the number of electrons held fixed;
- *projections* p_Ak = integral of phi_Ak rho: linear in the density matrix, as in DeePKS
  (Chen et al., J. Chem. Theory Comput. 17, 170 (2021)); the exchange-correlation closure reads
  these, and its potential is sum_Ak dE/dp_Ak <mu|phi_Ak|nu>.

Arrays here are (n_atoms, 45) in e3nn's order: ten scalars, then each p triple as x, y, z, then
each d quintuple as e3nn orders it (y is the polar axis). phi_k is normalised to 1 in L2.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from torch import Tensor

    from sfm_dft.integrals import Shells

EXPONENTS: tuple[tuple[float, ...], ...] = (
    tuple(0.16 * 2.4**k for k in range(10)),
    tuple(0.20 * 2.3**k for k in range(5)),
    tuple(0.25 * 2.3**k for k in range(4)),
)
COUNTS = tuple(len(exponents) for exponents in EXPONENTS)
IRREPS = "+".join(f"{n}x{l}{'eo'[l % 2]}" for l, n in enumerate(COUNTS))  # noqa: E741
ELEMENTS = (1, 6, 7, 8, 9)  # whose cores these functions can describe
DIM = sum((2 * degree + 1) * count for degree, count in enumerate(COUNTS))


def e3nn_quadrupoles(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 5"]:
    """Real l=2 harmonics (n, 5) of ``vectors`` (n, 3) in e3nn's order; their squares sum to r^4."""
    x, y, z = vectors.T
    return np.stack(
        [
            np.sqrt(3.0) * x * z,
            np.sqrt(3.0) * x * y,
            y**2 - 0.5 * (x**2 + z**2),
            np.sqrt(3.0) * y * z,
            np.sqrt(3.0) / 2.0 * (z**2 - x**2),
        ],
        axis=1,
    )


def pyscf_quadrupoles(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 5"]:
    """(n, 5) the same harmonics in PySCF's order: xy, yz, z^2, xz, x^2-y^2."""
    x, y, z = vectors.T
    return np.stack(
        [
            np.sqrt(3.0) * x * y,
            np.sqrt(3.0) * y * z,
            z**2 - 0.5 * (x**2 + y**2),
            np.sqrt(3.0) * x * z,
            np.sqrt(3.0) / 2.0 * (x**2 - y**2),
        ],
        axis=1,
    )


@cache
def quadrupole_rotation() -> Float[np.ndarray, "5 5"]:
    """Orthogonal (5, 5) matrix T with ``e3nn = T @ pyscf`` for l = 2."""
    points = np.random.default_rng(0).standard_normal((40, 3))
    solution, *_ = np.linalg.lstsq(pyscf_quadrupoles(points), e3nn_quadrupoles(points), rcond=None)
    return np.where(np.abs(solution) < 1e-12, 0.0, solution).T


@cache
def atom_rotation() -> Float[np.ndarray, "45 45"]:
    """Orthogonal (45, 45) matrix from PySCF's order of one atom's functions to e3nn's."""
    matrix, start = np.zeros((DIM, DIM)), 0
    blocks = (np.eye(1), np.eye(3), quadrupole_rotation())
    for count, block in zip(COUNTS, blocks, strict=True):
        for _ in range(count):
            stop = start + len(block)
            matrix[start:stop, start:stop] = block
            start = stop
    return matrix


def table() -> list[list[Any]]:
    """The shells of one atom in the form of `sfm_dft.basis.library`."""
    return [[degree, [a, 1.0]] for degree, row in enumerate(EXPONENTS) for a in row]


def shells(numbers: Int[Tensor, " A"], positions: Float[Tensor, "A 3"]) -> Shells:
    """The density basis on atoms (A,) at positions (A, 3) in bohr."""
    from sfm_dft.integrals import Shells

    return Shells.of_tables(dict.fromkeys(numbers.tolist(), table()), numbers, positions)


def auxiliary_molecule(molecule: Any) -> Any:
    """PySCF molecule that carries the density basis on the atoms of ``molecule``."""
    from pyscf import gto

    shells = table()
    symbols = {molecule.atom_symbol(i) for i in range(molecule.natm)}
    return gto.M(
        atom=molecule._atom,
        basis=dict.fromkeys(symbols, shells),
        charge=molecule.charge,
        spin=molecule.spin,
        unit="Bohr",
        verbose=0,
    )


def to_e3nn(values: Float[np.ndarray, " rows *axes"]) -> Float[np.ndarray, "rows//45 45 *axes"]:
    """(n_atoms * 45, ...) in PySCF's order -> (n_atoms, 45, ...) in e3nn's order."""
    stacked = values.reshape(-1, DIM, *values.shape[1:])
    turned: np.ndarray = np.einsum("pq,aq...->ap...", atom_rotation(), stacked)
    return turned


def from_e3nn(values: Float[np.ndarray, "A 45"]) -> Float[np.ndarray, " 45*A"]:
    """(n_atoms, 45) in e3nn's order -> (n_atoms * 45,) in PySCF's order."""
    turned: np.ndarray = np.einsum("pq,ap->aq", atom_rotation(), values).reshape(-1)
    return turned


def overlap_integrals(molecule: Any) -> Float[np.ndarray, "A 45 n n"]:
    """<mu|phi_Ak|nu>, shape (n_atoms, 45, n_orbitals, n_orbitals), e3nn order."""
    from pyscf import df

    integrals = df.incore.aux_e2(molecule, auxiliary_molecule(molecule), "int3c1e")
    return to_e3nn(np.ascontiguousarray(integrals.transpose(2, 0, 1)))


def project(molecule: Any, density_matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "A 45"]:
    """Projections p_Ak = integral of phi_Ak rho, shape (n_atoms, 45)."""
    from pyscf import df

    integrals = df.incore.aux_e2(molecule, auxiliary_molecule(molecule), "int3c1e")
    return to_e3nn(np.einsum("ijk,ij->k", integrals, density_matrix))


@cache
def electrons_per_function() -> Float[np.ndarray, " 45"]:
    """Integral of each phi_k over space, (45,); only s functions have one."""
    exponents = np.array(EXPONENTS[0])
    out = np.zeros(DIM)
    out[: COUNTS[0]] = (2.0 * exponents / np.pi) ** 0.75 * (np.pi / exponents) ** 1.5
    return out


def coulomb_metric(auxiliary: Any) -> Float[np.ndarray, "n n"]:
    """(phi_k|phi_l) (n, n) of `auxiliary_molecule`, in PySCF's order, kept away from singular."""
    metric: np.ndarray = auxiliary.intor("int2c2e")
    metric[np.diag_indices_from(metric)] += 1e-10 * np.trace(metric) / len(metric)
    return metric


def fit(molecule: Any, density_matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "A 45"]:
    """Coefficients (n_atoms, 45) of the Coulomb-metric fit with the electron count held fixed.

    Minimises (rho - fit | rho - fit) subject to integral(fit) = number of electrons.
    """
    from pyscf import df

    auxiliary = auxiliary_molecule(molecule)
    integrals = df.incore.aux_e2(molecule, auxiliary, "int3c2e")
    right = np.einsum("ijk,ij->k", integrals, density_matrix)
    metric = coulomb_metric(auxiliary)
    charges = from_e3nn(np.tile(electrons_per_function(), (molecule.natm, 1)))
    electrons = float(np.einsum("ij,ji", molecule.intor_symmetric("int1e_ovlp"), density_matrix))
    solution = np.linalg.solve(metric, np.stack([right, charges], axis=1))
    shift = (electrons - charges @ solution[:, 0]) / (charges @ solution[:, 1])
    return to_e3nn(solution[:, 0] + shift * solution[:, 1])


def evaluate(
    positions: Float[np.ndarray, "A 3"],
    coefficients: Float[np.ndarray, "A 45"],
    points: Float[np.ndarray, "G 3"],
    *,
    gradient: bool = False,
    chunk: int = 4_000,
) -> Float[np.ndarray, "*channels G"]:
    """The density of a coefficient set at points, electrons per bohr^3: (n_points,).

    With `gradient`, (4, n_points): its derivatives by x, y and z follow, per bohr^4.

    positions: (n_atoms, 3) bohr. coefficients: (n_atoms, 45). points: (n_points, 3) bohr.
    """
    blocks = (points[i : i + chunk] for i in range(0, len(points), chunk))
    values = [_evaluate(positions, coefficients, block, gradient) for block in blocks]
    return np.concatenate(values, axis=1) if gradient else np.concatenate([f[0] for f in values])


def _evaluate(
    positions: np.ndarray, coefficients: np.ndarray, points: np.ndarray, gradient: bool
) -> np.ndarray:
    """(4, n) or (1, n): sums over exponents first, which all harmonics of an l share."""
    out = np.zeros((4 if gradient else 1, len(points)))
    for centre, flat in zip(positions, coefficients, strict=True):
        d = points - centre
        r2, start = (d**2).sum(1), 0
        for degree, row in enumerate(EXPONENTS):
            a, width = np.array(row), 2 * degree + 1
            stop = start + width * len(a)
            c = flat[start:stop].reshape(len(a), width) * _norms(degree)[:, None]
            start = stop
            gaussians = np.exp(-np.outer(r2, a))
            radial, harmonics = gaussians @ c, _harmonics(degree, d)
            out[0] += (radial * harmonics).sum(1)
            if gradient:
                steep = -2.0 * (((gaussians * a) @ c) * harmonics).sum(1)
                out[1:] += steep * d.T + np.einsum("gm,gmx->xg", radial, _slopes(degree, d))
    return out


def _harmonics(degree: int, d: np.ndarray) -> np.ndarray:
    """Harmonics (n, 2l + 1) of vectors (n, 3), e3nn's order."""
    return (np.ones((len(d), 1)), d)[degree] if degree < 2 else e3nn_quadrupoles(d)


def _slopes(degree: int, d: np.ndarray) -> np.ndarray:
    """Gradients (n, 2l + 1, 3) of `_harmonics`."""
    if degree == 0:
        return np.zeros((len(d), 1, 3))
    if degree == 1:
        return np.broadcast_to(np.eye(3), (len(d), 3, 3))
    x, y, z = d.T
    none, root = np.zeros_like(x), np.sqrt(3.0)
    rows = [
        [root * z, none, root * x],
        [root * y, root * x, none],
        [-x, 2.0 * y, -z],
        [none, root * z, root * y],
        [-root * x, none, root * z],
    ]
    return np.array(rows).transpose(2, 0, 1)


@cache
def _norms(degree: int) -> np.ndarray:
    """Normalisation of r^l exp(-a r^2) times harmonics whose squares sum to r^(2l), for each a."""
    from math import gamma

    radial = 0.5 * gamma(degree + 1.5) / (2.0 * np.array(EXPONENTS[degree])) ** (degree + 1.5)
    return np.asarray((radial * 4.0 * np.pi / (2 * degree + 1)) ** -0.5)
