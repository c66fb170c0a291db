"""Refusing what a model was not trained on: elements, charges, spins, atoms that come too close.

Every door to a model (predict, embed, calculators, closures) asks here. Refused by default; with
`extrapolate` the number is given, and what is wrong with it is said in one line.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfm.config.coverage import coverage_of, signed
from sfm.data.conditions import unpaired
from sfm.data.elements import SYMBOLS
from sfm.data.radii import COVALENT_RADII
from sfm.data.tokens import Tokens
from sfm.errors import InputError, InputWarning, OutsideError
from sfm.nn.encoder import holds_atoms
from sfm.nn.known import LINE

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel

SAME_PLACE = 1e-4  # angstrom
CRUSHED = 0.5  # of the covalent radii's sum: no bond is so short; for models of unknown coverage
HOW = "extrapolate=True (--extrapolate) gives the number all the same"
UNTOLD = "the model does not say what its training data cover"


_searching: ContextVar[bool] = ContextVar("searching", default=False)


@contextmanager
def searching() -> Iterator[None]:
    """Inside the block a search may pass through what is refused, if its answer is asked after it.

    A relaxation overshoots; the repulsion of close atoms brings it back, or it has collapsed.
    """
    token = _searching.set(True)
    try:
        yield
    finally:
        _searching.reset(token)


@dataclass(frozen=True)
class Finding:
    """One way in which a system lies outside the training data.

    Attributes:
        key: what it is about, whatever the numbers: said once in a long run.
        text: for people.
        refused: whether the number is refused for it; otherwise it is only told.
        quantity: only this quantity is meant; None: all.
    """

    key: str
    text: str
    refused: bool = True
    quantity: str | None = None


class Guard:
    """Holds systems against the training data of one (encoder, level) of a model.

    Args:
        model, encoder, level: what will answer.
        extrapolate: warn instead of refusing.
    """

    def __init__(
        self, model: FoundationModel, encoder: str, level: str, *, extrapolate: bool = False
    ) -> None:
        self.model, self.encoder, self.level = model, encoder, level
        self.extrapolate = extrapolate
        self.context = model.context(encoder, level)
        self.atoms = holds_atoms(model.encoder(encoder))
        self.coverage = coverage_of(model.config.coverage, encoder, level)
        self._told: set[str] = set()

    def check(
        self,
        tokens: Tokens,
        conditions: Sequence[Mapping[str, float]] = (),
        quantities: Collection[str] = (),
    ) -> None:
        """Refuse the systems, or warn once of each kind of thing.

        Args:
            tokens: the systems; only elements and distances are looked at.
            conditions: `Sample.conditions` of each; none are neutral, with the fewest unpaired
                electrons.
            quantities: what is asked for.

        Raises:
            OutsideError: one lies outside the training data, and `extrapolate` is off.
            InputError: a token that is no atom, or two atoms at one place.
        """
        if _searching.get():
            return
        for number, findings in enumerate(self.findings(tokens, conditions)):
            for one in findings:
                if one.quantity is not None and one.quantity not in quantities:
                    continue
                if one.refused and not self.extrapolate:
                    raise OutsideError(f"{_name(tokens, number)}{one.text}; {HOW}")
                if one.refused and one.key not in self._told:
                    self._told.add(one.key)
                    text = f"{_name(tokens, number)}extrapolated: {one.text}"
                    warnings.warn(text, InputWarning, stacklevel=3)

    @torch.no_grad()
    def findings(
        self, tokens: Tokens, conditions: Sequence[Mapping[str, float]] = ()
    ) -> list[list[Finding]]:
        """What is outside, of each system; see `check`."""
        results: list[list[Finding]] = [[] for _ in range(tokens.n_systems)]
        if not self.atoms:
            return results
        lengths = self._lengths(tokens)
        self._refuse_impossible(tokens, lengths)
        if self.coverage is not None:
            self._elements(tokens, results)
            types = tokens.types.cpu().split(tokens.counts().tolist())
            for findings, stated, atoms in zip(results, conditions, types, strict=False):
                findings.extend(self._conditions(stated, atoms.numpy()))
        self._distances(tokens, lengths, results)
        if self.coverage is None:
            for findings in results:
                findings.append(Finding("untold", UNTOLD, refused=False))
        return results

    @torch.no_grad()
    def refuse_impossible(self, tokens: Tokens) -> None:
        """What no model answers, whatever it was trained on.

        Raises:
            InputError: a token that is no atom, or two atoms at one place.
        """
        if self.atoms:
            self._refuse_impossible(tokens, self._lengths(tokens))

    def _refuse_impossible(self, tokens: Tokens, lengths: Tensor) -> None:
        if not bool(tokens.types.all()):
            system, atom = _where(tokens, int(torch.nonzero(tokens.types == 0)[0]))
            raise InputError(
                f"{_name(tokens, system)}atom {atom} is 'X' (atomic number 0), which is no "
                "element; remove it"
            )
        near = lengths < SAME_PLACE
        if bool(near.any()):
            edge = int(torch.nonzero(near)[0])
            system, _ = _where(tokens, int(tokens.edges[0, edge]))
            atoms = self._pair(tokens, tokens.edges[:, edge])
            raise InputError(f"{_name(tokens, system)}{atoms} lie at the same place")

    def _lengths(self, tokens: Tokens) -> Tensor:
        """(E,) of the edges, in angstrom."""
        lengths: Tensor = tokens.edge_vectors().norm(dim=1)
        return lengths * self.model.known.angstrom[self.context]

    def _elements(self, tokens: Tokens, results: list[list[Finding]]) -> None:
        assert self.coverage is not None
        known = self.model.known.elements[self.context]
        narrower = self.coverage.narrower
        if not narrower and bool(known[tokens.types].all()):
            return
        for findings, types in zip(
            results, tokens.types.split(tokens.counts().tolist()), strict=True
        ):
            symbols = [SYMBOLS[z] for z in types.unique().tolist()]
            for quantity, elements in ((None, self.coverage.elements), *narrower.items()):
                new = [s for s in symbols if s not in elements]
                if quantity is not None and set(new) - set(self.coverage.elements):
                    continue  # the first one says so
                if new:
                    text = (
                        f"{_are('element', new)} not among the training data"
                        f"{f' of {quantity}' if quantity else ''} at {self.level} "
                        f"({_few(elements)})"
                    )
                    findings.append(Finding(f"{quantity} {new}", text, quantity=quantity))

    def _conditions(self, stated: Mapping[str, float], types: np.ndarray) -> list[Finding]:
        assert self.coverage is not None
        findings = []
        at = f"not among the training data at {self.level}"
        charge, spin = float(stated.get("charge", 0.0)), unpaired(stated, types)
        if self.coverage.charges and charge not in self.coverage.charges:
            known = ", ".join(signed(x) for x in self.coverage.charges)
            text = f"charge {signed(charge)} is {at} ({known})"
            findings.append(Finding(f"charge {charge}", text))
        if self.coverage.spins and spin not in self.coverage.spins:
            known = ", ".join(f"{x:g}" for x in self.coverage.spins)
            many = "electron is" if spin == 1 else "electrons are"
            findings.append(Finding(f"spin {spin}", f"{spin:g} unpaired {many} {at} ({known})"))
        states = self.coverage.states
        if not findings and states and (charge, spin) not in states:
            known = ", ".join(f"{signed(q)} with {s:g}" for q, s in states)
            many = "electron" if spin == 1 else "electrons"
            text = f"charge {signed(charge)} with {spin:g} unpaired {many} is {at} ({known})"
            findings.append(Finding(f"state {charge} {spin}", text))
        return findings

    def _distances(self, tokens: Tokens, length: Tensor, results: list[list[Finding]]) -> None:
        if not tokens.n_edges:
            return
        sender, receiver = tokens.edges
        known = self.model.known
        if self.coverage is None:
            radii = torch.tensor(COVALENT_RADII, dtype=length.dtype, device=length.device)
            approach = CRUSHED / LINE * radii[tokens.types[tokens.edges]].sum(0)
        else:
            approach = known.approach[self.context][tokens.types[sender], tokens.types[receiver]]
        ratio = length / approach
        for edge in _nearest(ratio, tokens.system[receiver], tokens.n_systems):
            value = float(ratio[edge])
            if value >= 1:
                continue
            system = int(tokens.system[receiver[edge]])
            z = sorted(SYMBOLS[int(tokens.types[k])] for k in tokens.edges[:, edge])
            line = (
                f"{self._pair(tokens, tokens.edges[:, edge])} are {float(length[edge]):.3g} "
                "angstrom apart, nearer than "
            )
            if self.coverage is not None:
                text = (
                    f"{line}{'' if value >= LINE else f'{LINE:g} of '}the closest approach of "
                    f"{'-'.join(z)} in the training data at {self.level} "
                    f"({float(approach[edge]):.3g} angstrom)"
                )
            elif value < LINE:
                text = (
                    f"{line}any {'-'.join(z)} bond ({CRUSHED:g} of their covalent radii, "
                    f"{LINE * float(approach[edge]):.3g} angstrom)"
                )
            else:
                continue
            results[system].append(Finding(f"distance {z}", text, refused=value < LINE))

    @staticmethod
    def _pair(tokens: Tokens, edge: Tensor) -> str:
        """`atoms 1 (H) and 2 (O)`, counted from one within their system."""
        (_, i), (_, j) = (_where(tokens, int(k)) for k in edge)
        a, b = (SYMBOLS[int(tokens.types[k])] for k in edge)
        if i == j:
            return f"atom {i} ({a}) and its own periodic image"
        (i, a), (j, b) = sorted(((i, a), (j, b)))
        return f"atoms {i} ({a}) and {j} ({b})"


def _nearest(ratio: Tensor, system: Tensor, n: int) -> list[int]:
    """The edge of the smallest ratio of each system, of those that have one below 1."""
    chosen = torch.nonzero(ratio < 1).squeeze(1)
    best: dict[int, int] = {}
    for edge in chosen.tolist():
        number = int(system[edge])
        if number not in best or float(ratio[edge]) < float(ratio[best[number]]):
            best[number] = edge
    return [best[k] for k in sorted(best)]


def _where(tokens: Tokens, token: int) -> tuple[int, int]:
    """System of a token, and its number there from one."""
    system = int(tokens.system[token])
    return system, token - int((tokens.system < system).sum()) + 1


def _name(tokens: Tokens, system: int) -> str:
    named = system < len(tokens.ids) and tokens.ids[system]
    return f"{tokens.ids[system]}: " if named else ""


def _are(word: str, names: Sequence[str]) -> str:
    many = len(names) > 1
    return f"{word}{'s' if many else ''} {', '.join(names)} {'are' if many else 'is'}"


def _few(symbols: Sequence[str]) -> str:
    if len(symbols) <= 12:
        return ", ".join(symbols)
    return f"{len(symbols)} elements, listed in its config.json"
