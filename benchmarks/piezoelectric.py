"""Piezoelectric moduli from a hundred labels: sfm-tiny beside the rivals of the transfer benchmark.

    python benchmarks/piezoelectric.py [--labels 100] [--seeds 5]

`crystals-piezoelectric` by the protocol of `transfer.py`: whole sets of elements go to the test
side, and closed forms compete on labels left out with their relatives. A line of JSON for each
seed, with mean absolute errors in C/m^2.
"""

from __future__ import annotations

import argparse
import json
from functools import partial

import torch
import transfer
import transfer_rows

import sfm
from sfm.registry import quantities

QUANTITY = "piezoelectric_modulus"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=transfer.LABELS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = partial(transfer_rows.bundled, "crystals/crystals-piezoelectric", QUANTITY, None)
    row = transfer_rows.Row("piezoelectric", "crystals/atoms", quantities()[QUANTITY], load)
    base = sfm.load(transfer.MODEL)
    for result in transfer.over_seeds(base, row, options.seeds, options.labels, controls=False):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
