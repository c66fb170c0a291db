"""The search of `molecules/transition-state`: ends, a band between them, the climb to the saddle.

Nothing here is differentiated; `sfm.simulate.statics.basin` differentiates what it comes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfm.errors import OutsideError, RunError
from sfm.model.guard import searching
from sfm.progress import report
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.statics import vibrations as small
from sfm.simulate.statics.barriers import ASIDE, SAME
from sfm.simulate.statics.dimer import softest
from sfm.simulate.statics.elastic_band import band_forces, tangents
from sfm.simulate.statics.fire import LARGEST_MOVE, Inertia, fire_step
from sfm.simulate.statics.interpolation import between_distances, deviation, superposed
from sfm.simulate.statics.saddle import ClimbSettings, saddle

if TYPE_CHECKING:
    from sfm_molecules.simulators.transition_state import TransitionState, Way

NEAR = 1e-3  # of the stiffness times an angstrom: where Newton's method takes over


PER_ATOM = ("positions", "velocities", "types", "masses", "free", "start")
PER_SYSTEM = ("charge", "spin", "cell", "chain", "heat")


def part_of(molecules: Particles, which: list[int]) -> Particles:
    """Some of the geometries of one molecule, as a batch of their own."""
    count, total = len(molecules.cell), len(molecules.positions)
    chosen = {name: getattr(molecules, name)[which] for name in PER_SYSTEM}
    for name in PER_ATOM:
        value = getattr(molecules, name)
        chosen[name] = value.view(count, -1, *value.shape[1:])[which].flatten(0, 1)
    system = torch.arange(len(which), device=molecules.system.device)
    return molecules._replace(**chosen, system=system.repeat_interleave(total // count))


@torch.no_grad()
def searched(simulator: TransitionState, way: Way) -> Way:
    """The way over the saddle point; of one that was searched before, ends and saddle refined.

    Raises:
        RunError: an end, the band or the climb does not come to rest, or the closure refuses it.
    """
    with searching():
        again = bool(way.step)
        way = _rested(simulator, way)
        if not again:
            first_way = _displaced if simulator.method == "dimer" else _band
            way = first_way(simulator, way)
        top = int(way.saddle)
        basin, _ = saddle(
            simulator.basin(way, way.places[top]),
            _direction(simulator, way),
            ClimbSettings(
                stiffness=simulator.stiffness_of_bonds(),
                turns=simulator.turns,
                near=NEAR * simulator.stiffness_of_bonds(),
                tolerance=simulator.tolerance,
                max_steps=simulator.max_steps,
                part=simulator.part,
            ),
        )
        places = way.places.clone()
        places[top] = basin.positions
        way = way.moved(places)
        if simulator.descend and not again:
            way = way._replace(joined=_descended(simulator, way))
    try:
        simulator.potential_energy(way.molecules.systems)
    except OutsideError as error:
        raise RunError(f"{simulator.part}: the search left the training data: {error}") from None
    return way


def _descended(simulator: TransitionState, way: Way) -> Float[Tensor, "2 n 3"]:
    """(2, n, 3) angstrom, the minima below a saddle point on both sides of its negative mode.

    The first is the one that lies nearer to the start.

    Raises:
        RunError: a way down does not come to rest.
    """
    top, count = int(way.saddle), way.places.shape[1]
    x, masses = way.places[top], way.molecules.masses[:count, 0]
    matrix = small.hessian(simulator.energy_of_one(way), x, where=simulator.part)
    _, modes = small.normal_modes(matrix, x, masses, way.free)
    step = ASIDE * modes[0] / modes[0].square().sum(1).max().sqrt()
    sides = part_of(way.molecules, [top, top])
    sides = sides._replace(positions=torch.cat([x - step, x + step]))
    try:
        minima = simulator.relax(sides).positions.view(2, count, 3)
    except RunError as error:
        raise RunError(f"{error}; descend=false does not go down from the saddle point") from None
    first, second = (apart(minimum, way.places[0], way.free) for minimum in minima)
    return minima if first <= second else minima.flip(0)


def apart(x: Float[Tensor, "n 3"], y: Float[Tensor, "n 3"], free: Bool[Tensor, "n 3"]) -> float:
    """Angstrom, root mean square, between two geometries (n, 3) angstrom of the same atoms.

    They are superposed where all coordinates are free (n, 3).
    """
    return deviation(superposed(x, y) if bool(free.all()) else x, y)


def _rested(simulator: TransitionState, way: Way) -> Way:
    """With the ends at their minima; of a first search, the last one superposed on the first."""
    places, again = way.places.detach().clone(), bool(way.step)
    if simulator.method == "dimer":
        alone = again or bool((places[0] == places[1]).all())
        ends = [0] if alone else [0, 1]
    else:
        ends = [0, len(places) - 1]
    if simulator.relax_ends:
        relaxed = simulator.relax(part_of(way.molecules, ends))
        places[ends] = relaxed.positions.view(len(ends), -1, 3)
    if len(ends) == 1 and not again:
        places[1] = places[0]
    if len(ends) == 1 or again:
        return way.moved(places)
    if bool(way.free.all()):
        places[ends[1]] = superposed(places[ends[1]], places[0])
    apart = deviation(places[0], places[ends[1]])
    if apart < SAME:
        raise RunError(
            f"{simulator.part}: both ends are one minimum ({apart:.1g} angstrom apart): nothing "
            "lies between them"
        )
    return way.moved(places)


def _displaced(simulator: TransitionState, way: Way) -> Way:
    """The minimum, and it moved by `displacement` towards the other end, or anywhere."""
    first, second = way.places
    along = second - first
    if not bool(along.any()):
        generator = torch.Generator().manual_seed(simulator.seed)
        along = torch.randn(first.shape, generator=generator, dtype=torch.float64).to(first)
        basin = simulator.basin(way, first)
        product = basin.gradient()[1]
        along = softest(
            product, along, basin.project, turns=simulator.turns, tolerance=0.0
        ).direction
    along = simulator.basin(way, first).project(along)
    size = along.square().sum(1).max().sqrt()
    return way.moved(torch.stack([first, first + simulator.displacement / size * along]))


def _band(simulator: TransitionState, way: Way) -> Way:
    """Images at rest between two ends that are; the highest one is to be the saddle point.

    Raises:
        RunError: the band does not come to rest, or it has no barrier.
    """
    count, n = way.places.shape[:2]
    free, system = way.molecules.free, way.molecules.system
    places = between_distances(way.places[0], way.places[-1], count, way.free)
    inertia = Inertia.at_rest(way.molecules.positions, count)
    largest = inertia.step.new_full((count,), LARGEST_MOVE * n**0.5)
    stiffness, size = simulator.stiffness_of_bonds(), float("inf")
    for done in range(simulator.max_steps + 1):
        energies, pulls = _pulls(simulator, way.moved(places))
        size = float(pulls.abs().max())
        if size <= simulator.force_tolerance:
            break
        report(f"{simulator.part}: band, step", done, simulator.max_steps)
        inertia, move = fire_step(inertia, pulls.view(-1, 3) / stiffness, system, largest)
        places = places + (move * free).view_as(places)
    if not size <= simulator.force_tolerance:
        raise RunError(
            f"{simulator.part}: the band is not at rest after {simulator.max_steps} steps (largest "
            f"force {size:.2g} eV/angstrom, force_tolerance {simulator.force_tolerance:g}): raise "
            "max_steps, images or force_tolerance"
        )
    top = 1 + energies[1:-1].argmax()
    if not float(energies[top]) > float(energies[[0, -1]].max()):
        raise RunError(
            f"{simulator.part}: no image lies above both ends: there is no barrier on this way, or "
            "its images are too few"
        )
    return way.moved(places)._replace(saddle=top)


def _pulls(simulator: TransitionState, way: Way) -> tuple[Tensor, Tensor]:
    """Energies (I,) eV and forces of the band (I, n, 3) eV/angstrom."""
    molecules = way.molecules
    basin = simulator.basin_of(molecules)

    def internal(x: Tensor) -> Tensor:
        return basin.project(x.reshape(-1, 3)).view_as(x)

    energies, forces = simulator.energy_and_forces(molecules)
    forces = internal((forces * molecules.free).view_as(way.places))
    return energies, band_forces(energies, way.places, forces, simulator.spring, internal)


def _direction(simulator: TransitionState, way: Way) -> Float[Tensor, "n 3"]:
    """(n, 3) along the way at what is to be the saddle point, the first guess of its mode."""
    if simulator.method == "dimer":
        return way.places[1] - way.places[0]
    energies = simulator.energy_and_forces(way.molecules)[0]
    return tangents(energies, way.places)[int(way.saddle)]
