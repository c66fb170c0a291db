"""Derivatives by the nuclei of the energy that a grid gives, the density matrix held fixed.

An orbital at a point depends on the nucleus M that it sits on and on the owner O of the point:

    d chi / d R_A = (delta_AO - delta_AM) grad chi,

so that derivatives of filled orbitals are sums over atoms of their parts with slopes of one and two
orders more (`sfm_dft.grid.orbital_derivatives`). Becke's weights follow by autograd. B. G. Johnson
and M. J. Frisch, J. Chem. Phys. 100, 7429 (1994), without the weights.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.progress import report
from sfm_dft.gradients.moving_grid import moving_points
from sfm_dft.grid.becke import becke_weights, size_adjustment
from sfm_dft.grid.molecular import CHANNELS, Block, Grid, partition_size
from sfm_dft.grid.orbital_derivatives import size
from sfm_dft.hessian.expansion import Expansion, adjoint, bilinear
from sfm_dft.hessian.occupied import Occupied
from sfm_dft.hessian.skeleton import Skeleton
from sfm_dft.integrals.orbitals import displacements
from sfm_dft.integrals.shells import monomials
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.molecule import Molecule


def grid_terms(energy: EnergyFunctional, occupied: Occupied, expansion: Expansion) -> Skeleton:
    """Skeleton of the exchange-correlation energy of a pointwise functional."""
    (molecule,) = energy.system.molecules
    with torch.no_grad():
        sums = _Sum(molecule.grid, molecule.positions, CHANNELS[energy.rung], occupied)
        second, weights = _weight_derivatives(molecule.grid, molecule, expansion.value)
        for number, block in enumerate(molecule.grid.blocks):
            report("vibrations: block of the grid", number, len(molecule.grid.blocks))
            sums.add(block, expansion, weights[:, block.points])
        return Skeleton(second + sums.second(), sums.focks())


class _Sum:
    """What the blocks add to, in the sequence of the grid's functions."""

    def __init__(self, grid: Grid, positions: Tensor, channels: int, occupied: Occupied) -> None:
        self.grid, self.positions = grid, positions
        self.channels, self.occupied = channels, occupied
        atoms, order = len(positions), grid.jets.order
        self.filled_orbitals = [c[order] for c in occupied.filled_orbitals]
        zeros = positions.new_zeros
        self.direct = zeros(3 * atoms, 3 * atoms)
        self.twice = zeros(atoms, atoms, 3, 3)  # atom of the orbital, owner of the point
        self.here = [zeros(len(order), 3 * atoms, c.shape[1]) for c in self.filled_orbitals]
        self.moved = [zeros(atoms, 3, len(order), c.shape[1]) for c in self.filled_orbitals]

    def add(self, block: Block, expansion: Expansion, weight_slopes: Tensor) -> None:
        """weight_slopes: (U, g)."""
        grid, place, atoms = self.grid, block.points, len(self.positions)
        low = 0 if self.channels == 1 else 1
        jet = grid.jets(low + 2, grid.points[place], self.positions, block.shells)
        which = slice(None) if block.functions is None else block.functions
        sites, owner = grid.jets.atoms[which], grid.owners[place]
        owned = torch.nn.functional.one_hot(owner, atoms).mT.to(jet)  # (A, g)
        once, twice = _raised(low)
        weights = grid.weights[place]
        slope = expansion.slope[..., place]
        curvature = weights * expansion.curvature[..., place]
        v = weights * slope
        each = []
        for c in self.filled_orbitals:
            parts = jet.new_zeros(len(jet), atoms, c.shape[1], jet.shape[2])
            for atom in sites.unique().tolist():
                index = (sites == atom).nonzero()[:, 0]
                parts[:, atom] = c[which][index].mT @ jet[:, index]
            whole = parts.sum(1)
            phi = whole[: size(low)]  # (c', o, g)
            rows = []
            for axis in range(3):
                up = once[axis]
                rows.append(owned[:, None] * whole[up][:, None] - parts[up])
            turned = torch.stack(rows, 2).flatten(1, 2)  # (c', U, o, g)
            each.append((phi, parts, turned, bilinear(phi, turned, self.channels)))
        changed = torch.stack([x[3] for x in each])  # (s, c, U, g)
        answer = torch.einsum("sctdg,tdug->scug", curvature, changed)
        self.direct += torch.einsum("scug,scvg->uv", answer, changed)
        stretched = weight_slopes @ torch.einsum("scg,scug->ug", slope, changed).mT
        self.direct += stretched + stretched.mT
        answer = answer + slope[:, :, None] * weight_slopes
        chi = jet[: size(low)]
        for row, (phi, parts, turned, _) in enumerate(each):
            t = adjoint(v[row], phi)  # (c', o, g)
            bent = adjoint(v[row][:, None], turned)  # (c', U, o, g)
            flat = turned.movedim(1, 0).flatten(1)
            self.direct += 2.0 * bent.movedim(1, 0).flatten(1) @ flat.mT
            for x in range(3):
                for y in range(x + 1):
                    on_atom = 2.0 * torch.einsum("cog,caog->ag", t, parts[twice[x][y]]) @ owned.mT
                    self.twice[:, :, x, y] += on_atom
                    if x != y:
                        self.twice[:, :, y, x] += on_atom
            pulled = adjoint(answer[row], phi[:, None]) + bent
            part = (chi @ pulled.flatten(1, 2).mT).sum(0).unflatten(1, pulled.shape[1:3])
            self.here[row].index_put_((_all(which, part),), part, accumulate=True)
            for atom in owner.unique().tolist():
                index = (owner == atom).nonzero()[:, 0]
                near, pull = jet[:, :, index], t[:, :, index].mT
                for axis in range(3):
                    part = (near[once[axis]] @ pull).sum(0)
                    target = self.moved[row][atom, axis]
                    target.index_put_((_all(which, part),), part, accumulate=True)

    def second(self) -> Tensor:
        """(U, U)."""
        return self.direct + between_atoms(self.twice)

    def focks(self) -> list[Tensor]:
        """C^T F_u C_o (U, n, o)."""
        jets, matrices = self.grid.jets, []
        back = torch.argsort(jets.order)
        atoms = len(self.positions)
        mine = torch.nn.functional.one_hot(jets.atoms, atoms).mT.to(self.direct)  # (A, n)
        for c, here, moved in zip(self.occupied.orbitals, self.here, self.moved, strict=True):
            change = moved - mine[:, None, :, None] * moved.sum(0)
            total = here.permute(1, 0, 2) + change.flatten(0, 1)
            matrices.append(c.mT @ total[:, back] / self.occupied.share)
        return matrices


def between_atoms(sums: Float[Tensor, "A A 3 3"]) -> Float[Tensor, "3*A 3*A"]:
    """(U, U) of sums (A, A, 3, 3) of second derivatives by x and y, of something that moves with
    one atom M against another atom O: sum_MO (d_AO - d_AM) (d_BO - d_BM) sums_MO."""
    atoms = len(sums)
    diagonal = torch.diag_embed((sums.sum(0) + sums.sum(1)).permute(1, 2, 0))  # (3, 3, A, A)
    out = diagonal.permute(2, 3, 0, 1) - sums - sums.transpose(0, 1)
    return out.permute(0, 2, 1, 3).reshape(3 * atoms, 3 * atoms)


def _all(which: Tensor | slice, part: Tensor) -> Tensor:
    return which if isinstance(which, Tensor) else torch.arange(len(part), device=part.device)


def _weight_derivatives(grid: Grid, molecule: Molecule, value: Tensor) -> tuple[Tensor, Tensor]:
    """Second derivatives (U, U) of sum_g w_g e_g at fixed e, and slopes of the weights (U, G)."""
    numbers, positions = molecule.numbers, molecule.positions
    count, points = positions.numel(), len(grid.points)
    second, slopes = positions.new_zeros(count, count), positions.new_zeros(count, points)
    if len(positions) == 1:
        return second, slopes
    adjustment, step = size_adjustment(numbers), partition_size(positions)
    for start in range(0, points, step):
        part = slice(start, start + step)
        with torch.enable_grad():
            r = positions.detach().clone().requires_grad_()
            e = value[part].clone().requires_grad_()
            shift = displacements(r, moving_points(molecule, r)[part])
            weights = becke_weights(shift, r, adjustment, grid.owners[part], grid.volumes[part])
            (pull,) = torch.autograd.grad(weights @ e, r, create_graph=True)
            rows = pull.flatten().unbind()
        for k, one in enumerate(rows):
            by_e, by_r = torch.autograd.grad(one, [e, r], retain_graph=True)
            slopes[k, part] = by_e
            second[k] += by_r.flatten()
    return second, slopes


@cache
def _raised(order: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Where derivatives by one axis and by two of each component up to an order stand."""
    index = {p: k for k, p in enumerate(p for n in range(order + 3) for p in monomials(n))}
    lower = [p for n in range(order + 1) for p in monomials(n)]

    def up(powers: tuple[int, ...], *axes: int) -> int:
        return index[tuple(p + axes.count(k) for k, p in enumerate(powers))]  # type: ignore[index]

    once = [[up(p, x) for p in lower] for x in range(3)]
    return once, [[[up(p, x, y) for p in lower] for y in range(3)] for x in range(3)]
