"""Measured properties of chemicals that are sold, out of the tables of the package `chemicals`.

Melting points are those of the Open Notebook Science collection (CC0; J.-C. Bradley, A. Lang,
A. Williams, 2014) or else of Wikidata (CC0), boiling points those of Wikidata; partition
coefficients between octanol and water are those of the Syracuse Research Corporation's KOWWIN set
(W. M. Meylan, P. H. Howard, J. Pharm. Sci. 84, 83 (1995)).
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable

from sfm_molecules.data.catalogues import IDENTIFIERS, chemicals_identifiers

MELTING = "chemicals/Phase Change/OpenNotebook Melting Points.tsv"
PARTITION = "chemicals/Environment/Syrres logP data.csv.gz"
WIKIDATA = "chemicals/Misc/wikidata_properties.tsv"


def smiles_by_cas(read: Callable[[str], bytes]) -> dict[str, str]:
    """SMILES by registry number (digits only); `read` gives the bytes of a file of the archive."""
    return {
        _digits(number): smiles
        for member in IDENTIFIERS
        for number, smiles in chemicals_identifiers(read(member))
    }


def measured(read: Callable[[str], bytes]) -> dict[str, dict[str, float]]:
    """Quantities by registry number (digits only).

    Args:
        read: gives the bytes of a file of the archive.

    Returns:
        `melting_temperature` and `boiling_temperature` in kelvin, `log_octanol_water`, each where
        it is known.
    """
    by_number: dict[str, dict[str, float]] = {}
    for member, column, quantity in (
        (WIKIDATA, "Tb", "boiling_temperature"),
        (WIKIDATA, "Tm", "melting_temperature"),
        (MELTING, "Tm", "melting_temperature"),  # goes over Wikidata's
        (PARTITION, "logP", "log_octanol_water"),
    ):
        for row in _table(read(member)):
            value = float(row[column] or math.nan)
            if math.isfinite(value):
                by_number.setdefault(_digits(row["CAS"]), {})[quantity] = value
    return by_number


def _table(content: bytes) -> csv.DictReader[str]:
    """Tab-separated rows, gzipped or not."""
    plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return csv.DictReader(io.StringIO(plain.decode("utf-8-sig")), delimiter="\t")


def _digits(number: str) -> str:
    return number.replace("-", "")
