"""Side-by-side measurements of sfm against peers, in one run: `make bench`.

Five families: `trunk`, our models beside MACE and TensorNet (`trunk.py`), `fluids`, our flow
solver beside Exponax, jax-cfd and torch-cfd (`fluids.py`), `dft`, our Kohn-Sham engine beside
PySCF (`dft.py`), `md`, our molecular dynamics beside LAMMPS, jax-md, torch-sim and ASE (`md.py`),
and `transfer`, fine-tuning on few labels beside simple rivals (`transfer.py`),
which is no matter of time and has one process. Every other package has a process of its own,
with one thread. The processes take turns, forwards and then backwards (A B C, C B A, ...), so that
drift of the machine cancels in the ratios, which are formed within a turn.

    python benchmarks/run.py                                all; writes RESULTS*.md, results*.json
    python benchmarks/run.py --quick                        fewer turns, for a first look
    python benchmarks/run.py --only fluids                  one family
    python benchmarks/run.py --only sfm-tiny,mace,silicon   some models, workloads or tasks
    python benchmarks/run.py --only fluids,exponax,256      some solvers, sizes or tasks
    python benchmarks/run.py --only dft,benzene             some molecules or tasks
    python benchmarks/run.py --only md,4000,lammps          some sizes, engines or tasks
    python benchmarks/run.py --only transfer,solubility     some targets
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import dft
import dft_report
import fluids
import fluids_report
import md
import md_report
import report
import transfer
import transfer_report
import trunk
from processes import HERE
from selection import families
from turns import say

FAMILIES: dict[str, tuple[ModuleType, ModuleType]] = {
    "trunk": (trunk, report),
    "fluids": (fluids, fluids_report),
    "dft": (dft, dft_report),
    "md": (md, md_report),
    "transfer": (transfer, transfer_report),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 turns instead of 11")
    parser.add_argument("--rounds", type=int, help="number of turns")
    parser.add_argument("--only", help="families or what they measure, separated by commas")
    parser.add_argument("--device", default="cpu", help="of the trunk: cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    options = parser.parse_args(argv)
    try:
        chosen = families(options.only, {f: m.NAMES for f, (m, _) in FAMILIES.items()})
    except ValueError as error:
        say(error)
        return 2
    complete = True
    for family in chosen:
        measuring, reporting = FAMILIES[family]
        run = measuring.Run(options)
        results = run()
        if run.measured:
            options.output.mkdir(parents=True, exist_ok=True)
            reporting.write(options.output, results)
            print(reporting.tables(results))
            say(f"written: {options.output / reporting.TEXT}, {options.output / reporting.NUMBERS}")
        complete = complete and run.measured
    return 0 if complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
