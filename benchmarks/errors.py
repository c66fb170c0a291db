"""Errors of the bundled model beside those of peers, baselines and a semi-empirical theory.

    python benchmarks/errors.py                        # all
    python benchmarks/errors.py --only elements,moduli
    python benchmarks/errors.py --chgnet PYTHON --sevennet PYTHON   # that have them already

Writes RESULTS_ERRORS.md and results_errors.json; sections that are not asked for stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
CRYSTALS, MOLECULES = ("elements", "moduli"), ("atomisation", "isomers")


def pythons(options: argparse.Namespace) -> dict[str, str]:
    """A Python for each potential; the peers' environments are made where none is given."""
    import peers

    return {
        "sfm-tiny": sys.executable,
        "chgnet": options.chgnet or str(peers.ensure("chgnet")),
        "sevennet": options.sevennet or str(peers.ensure("sevennet")),
    }


def main() -> int:
    """Measure what is asked for and write the page."""
    import errors_crystals
    import errors_molecules
    import errors_report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join([*CRYSTALS, *MOLECULES]))
    parser.add_argument("--chgnet", help="a Python that has chgnet==0.4.2")
    parser.add_argument("--sevennet", help="a Python that has sevenn==0.11.2")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    asked = options.only.split(",")
    if unknown := set(asked) - {*CRYSTALS, *MOLECULES}:
        parser.error(f"--only: {min(unknown)}: one of {', '.join([*CRYSTALS, *MOLECULES])}")
    torch.set_num_threads(1)
    path = options.out / errors_report.NUMBERS
    stored: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    potentials = pythons(options) if set(asked) & set(CRYSTALS) else {}
    for name in asked:
        if name in CRYSTALS:
            stored[name] = getattr(errors_crystals, name)(potentials)
        else:
            stored[name] = getattr(errors_molecules, name)()
    ordered = {name: stored[name] for name in errors_report.SECTIONS if name in stored}
    errors_report.write(options.out, ordered)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
