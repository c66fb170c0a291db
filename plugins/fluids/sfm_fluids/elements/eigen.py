"""The lowest eigenvalues of the Laplace operator on a mesh, u = 0 on the boundary.

    -lap u = lambda u

Source: I. Babuska and J. Osborn, Eigenvalue Problems, in Handbook of Numerical Analysis II (1991).
Lengths in any consistent unit; eigenvalues per its square.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import eigsh
from torch import Tensor

from sfm_fluids.elements.forms import diffusion, mass, triangles
from sfm_fluids.elements.mesh import Mesh
from sfm_fluids.elements.space import Space
from sfm_fluids.elements.system import product, sparse


def laplace_eigenvalues(
    mesh: Mesh, count: int = 1, *, degree: int = 2, points: Float[Tensor, "n 2"] | None = None
) -> Float[Tensor, " count"]:
    """The `count` lowest, ascending; differentiable (once) in the places of the mesh's points.

    The derivative is the Rayleigh quotient's at the eigenvector: right for simple eigenvalues.

    Args:
        mesh: of the domain.
        count: how many.
        degree: of the elements, 1 or 2.
        points: in the mesh's stead.
    """
    space = Space.of(mesh, degree)
    t = triangles(space, mesh.points if points is None else points)
    ones = t.measure.new_ones(len(t.measure))
    stiffness, inertia = diffusion(t, ones), mass(t, ones)
    keep = torch.nonzero(~space.on(space.sides))[:, 0]

    def inner(matrices: Tensor) -> csc_matrix:
        """The part without the boundary, where u = 0."""
        return sparse(matrices, space.cells, space.size)[keep.numpy()][:, keep.numpy()]

    start = torch.ones(len(keep), dtype=torch.float64).numpy()  # the same answer every time
    _, vectors = eigsh(inner(stiffness), count, inner(inertia), sigma=0.0, which="LM", v0=start)
    quotients = []
    for vector in torch.from_numpy(vectors).T:
        u = t.measure.new_zeros(space.size).index_add(0, keep, vector)
        energy = u @ product(stiffness, space.cells, u)
        quotients.append(energy / (u @ product(inertia, space.cells, u)))
    return torch.stack(quotients).sort().values
