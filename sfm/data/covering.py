"""Measuring what atomistic training data cover: elements, charges, spins, closest approaches.

The closest approach of two elements is their shortest distance in the data, if they lie within the
encoder's range of each other in at least 50 systems. A pair met less often may well come closer in
the next system: its approach is at most 0.8 of the sum of the covalent radii, and exactly that for
a pair never met. On held-out crystals of 86 elements 0.9 times this approach excludes 5 of 595, and
0.9 times the bare shortest distance 77.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

import numpy as np
from jaxtyping import Float

from sfm.config.coverage import Coverage
from sfm.data.conditions import unpaired
from sfm.data.elements import NUMBERS, SYMBOLS
from sfm.data.neighbours import neighbour_list
from sfm.data.radii import COVALENT_RADII
from sfm.data.sample import Sample

N = len(SYMBOLS)
MANY = 50
RARE = 0.8


@cache
def default_approach() -> Float[np.ndarray, "119 119"]:
    """(119, 119) angstrom: 0.8 (R_i + R_j), zero for what is no atom."""
    radii = np.array(COVALENT_RADII)
    table: np.ndarray = RARE * (radii[:, None] + radii[None, :])
    table[0, :] = table[:, 0] = 0.0
    table.setflags(write=False)
    return table


def approaches(coverage: Coverage) -> Float[np.ndarray, "119 119"]:
    """(119, 119) angstrom: closest approach of every two elements."""
    table = default_approach().copy()
    for pair, distance in coverage.closest.items():
        i, j = (NUMBERS[symbol] for symbol in pair.split("-"))
        table[i, j] = table[j, i] = distance
    return table


class Survey:
    """What samples of one (encoder, level) cover, gathered one by one.

    Args:
        encoder, level: which.
        cutoff: range of the encoder, in angstrom; two atoms further apart have not met.
        spins: whether the encoder's systems are told apart by their unpaired electrons.
    """

    def __init__(self, encoder: str, level: str, *, cutoff: float, spins: bool) -> None:
        self.encoder, self.level, self.cutoff = encoder, level, cutoff
        self.systems = 0
        self.with_spins = spins
        self.states: set[tuple[float, float]] = set()
        self.elements = np.zeros(N, dtype=bool)
        self.labelled: dict[str, np.ndarray] = {}
        self.shortest = np.full((N, N), np.inf)
        self.met = np.zeros((N, N), dtype=np.int64)

    def add(self, sample: Sample, quantities: Collection[str], scale: float = 1.0) -> None:
        """One system, which teaches those of the quantities that it has a label of; else nothing.

        Args:
            sample: the system.
            quantities: what is learned.
            scale: angstrom in one unit of its lengths.
        """
        if not any(name in sample.labels for name in quantities):
            return
        self.systems += 1
        charge = float(sample.conditions.get("charge", 0.0))
        self.states.add((charge, unpaired(sample.conditions, sample.types)))
        self.elements[sample.types] = True
        for name in quantities:
            if name in sample.labels:
                self.labelled.setdefault(name, np.zeros(N, dtype=bool))[sample.types] = True
        cutoff = self.cutoff / scale
        (sender, receiver), shifts = neighbour_list(
            sample.positions, cutoff, sample.cell, sample.pbc
        )
        if not len(sender):
            return
        vectors = sample.positions[sender] - sample.positions[receiver]
        if sample.cell is not None:
            vectors = vectors + shifts @ sample.cell
        pairs = sample.types[sender], sample.types[receiver]
        np.minimum.at(self.shortest, pairs, scale * np.linalg.norm(vectors, axis=1))
        here = np.zeros((N, N), dtype=bool)
        here[pairs] = True
        self.met += here | here.T

    def coverage(self, before: Coverage | None = None, said: Collection[str] = ()) -> Coverage:
        """What was gathered.

        Args:
            before: on top of this, of the same encoder and level.
            said: the quantities that `before` is about.
        """
        closest = np.minimum(self.shortest, self.shortest.T)
        rare = self.met < MANY
        closest[rare] = np.minimum(closest, default_approach())[rare]
        elements, systems, states = self.elements.copy(), self.systems, self.states
        charges, spins = ({state[k] for state in states} for k in (0, 1))
        if before is not None:
            known = approaches(before)
            told = _kinds(before.elements)
            # a pair that was covered keeps its approach, unless the new data come closer
            both = told[:, None] & told[None, :]
            nearer = np.minimum(known, np.minimum(self.shortest, self.shortest.T))
            closest = np.where(both, nearer, closest)
            elements, charges = elements | told, charges | set(before.charges)
            spins |= set(before.spins)
            # of what was covered before they were recorded nobody knows
            states = states | set(before.states) if before.states else set()
            systems += before.systems
        numbers = [int(z) for z in np.flatnonzero(elements) if z]
        usual = default_approach()
        return Coverage(
            encoder=self.encoder,
            level=self.level,
            systems=systems,
            elements=_symbols(elements),
            charges=tuple(sorted(charges)),
            spins=tuple(sorted(spins)) if self.with_spins else (),
            states=tuple(sorted(states)) if self.with_spins else (),
            closest={
                # rounded down: the data themselves stay inside
                f"{SYMBOLS[i]}-{SYMBOLS[j]}": float(np.floor(closest[i, j] * 1e4) / 1e4)
                for n, i in enumerate(numbers)
                for j in numbers[n:]
                if abs(closest[i, j] - usual[i, j]) > 1e-4
            },
            narrower=self._narrower(elements, before, said),
        )

    def _narrower(
        self, elements: np.ndarray, before: Coverage | None, said: Collection[str]
    ) -> dict[str, tuple[str, ...]]:
        """Elements of the quantities that have labels for fewer than all."""
        table = {name: kinds.copy() for name, kinds in self.labelled.items()}
        if before is not None:
            for name in said:
                told = _kinds(before.narrower.get(name, before.elements))
                table[name] = table.get(name, np.zeros(N, dtype=bool)) | told
        return {
            name: _symbols(kinds)
            for name, kinds in sorted(table.items())
            if (kinds != elements).any()
        }


def _kinds(symbols: Iterable[str]) -> np.ndarray:
    kinds = np.zeros(N, dtype=bool)
    kinds[[NUMBERS[symbol] for symbol in symbols]] = True
    return kinds


def _symbols(kinds: np.ndarray) -> tuple[str, ...]:
    return tuple(SYMBOLS[z] for z in np.flatnonzero(kinds) if z)
