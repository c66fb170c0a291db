"""Closed-shell ions and radicals of real molecules: a proton or a hydrogen atom more or less.

Chemistry's usual ions have paired electrons: ammonium, carboxylates, phenolates. Each molecule
gives at most one relative: the hash of its SMILES chooses the kind, and one of the sites of its
strongest bases or acids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from sfm.errors import InputError
from sfm_molecules.geometry.embedding import parse_smiles

# bases, where a proton goes, the stronger first: amines that no carbonyl, ring or sulfonyl draws
# on, imines, pyridines, phosphanes, sulfides, carbonyls, ethers and alcohols
_BASES = (
    "[NX3;+0;!$(N-[C,S,P,N]=[O,S,N]);!$(N-a);!$(N-[O,N])]",
    "[NX2;+0;!$(N=[O,N]);!$(N-[O,N])]",
    "[nX2;+0]",
    "[PX3;+0]",
    "[SX2;+0;H0]([#6])[#6]",
    "[OX1;+0]=[CX3]",
    "[OX2;+0]([#6,#1])[CX4]",
)
# acids, where one comes from: phosphoric and sulfonic, carboxylic, thiols, phenols, imides,
# sulfonamides, azoles, alcohols
_ACIDS = (
    "[OX2H][P,S]=O",
    "[OX2H]C=[O,S]",
    "[SX2H]",
    "[OX2H]c",
    "[NX3H1](C=O)C=O",
    "[NX3H1,NX3H2]S(=O)=O",
    "[nH]",
    "[OX2H][CX4]",
)
_HYDROGENS = ("[C,N,O,S,Si,P;+0;!H0]",)


class Kind(NamedTuple):
    """What becomes of a site.

    Attributes:
        sites: SMARTS, whose first atom it is.
        hydrogens: gained, negative if lost. charge: in e. radical: unpaired electrons there.
        share: of all relatives.
    """

    sites: tuple[str, ...]
    hydrogens: int
    charge: int
    radical: int
    share: float


KINDS = {
    "cation": Kind(_BASES, 1, 1, 0, 0.4),
    "anion": Kind(_ACIDS, -1, -1, 0, 0.35),
    "radical": Kind(_HYDROGENS, -1, 0, 1, 0.25),
}


def relatives(molecules: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(relative, molecule) as canonical SMILES, of those molecules that have a site of their kind.

    Args:
        molecules: SMILES of neutral closed shells.
    """
    for smiles in molecules:
        digest = hashlib.sha256(f"ion|{smiles}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        kind = str(generator.choice(list(KINDS), p=[k.share for k in KINDS.values()]))
        sites = _sites(smiles, kind)
        if sites and (changed := _changed(smiles, kind, int(generator.choice(sites)))):
            yield changed, smiles


@cache
def _patterns(kind: str) -> tuple[Any, ...]:
    from rdkit import Chem

    return tuple(Chem.MolFromSmarts(smarts) for smarts in KINDS[kind].sites)


def _sites(smiles: str, kind: str) -> list[int]:
    """Atoms that may change, by number: those of the first pattern that there are some of."""
    molecule = parse_smiles(smiles, hydrogens=False)
    matches = (molecule.GetSubstructMatches(pattern) for pattern in _patterns(kind))
    return sorted({match[0] for match in next(filter(None, matches), ())})


def _changed(smiles: str, kind: str, site: int) -> str | None:
    """The relative; None where rdkit will not have it."""
    from rdkit import Chem, rdBase

    what = KINDS[kind]
    molecule = Chem.RWMol(parse_smiles(smiles, hydrogens=False))
    atom = molecule.GetAtomWithIdx(site)
    hydrogens = atom.GetTotalNumHs() + what.hydrogens
    atom.SetNoImplicit(True)
    atom.SetNumExplicitHs(hydrogens)
    atom.SetFormalCharge(what.charge)
    atom.SetNumRadicalElectrons(what.radical)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(molecule)
            written = Chem.MolToSmiles(molecule)
            parse_smiles(written)
        except (ValueError, RuntimeError, InputError):
            return None
    return str(written)
