"""Pores of metal-organic frameworks from a hundred labels, with the protocol of `transfer.py`.

100 labels and 100 test systems of `crystals-mof`, no family on both sides; `sfm-tiny` by mode
`auto`, simple rivals, the same trunk from scratch, the mean of the labels. A line of JSON for
every target and seed; about 20 CPU seconds each.

    python benchmarks/frameworks.py --seeds 2
"""

from __future__ import annotations

import argparse
import json
from functools import partial

import torch
import transfer
import transfer_rows

TARGETS = ("void_fraction", "largest_cavity_diameter")


def labelled(quantity: str, most: int) -> transfer_rows.Labelled:
    """At most so many frameworks with their families."""
    from sfm.data.storage import open_dataset
    from sfm.registry import find

    spec = find("datasets", "crystals-mof").load()
    samples = transfer_rows.thinned(
        list(open_dataset(spec.folder, length_unit=spec.length_unit)), most
    )
    return [(str(s.group), s.replace(labels={quantity: s.labels[quantity]})) for s in samples]


def main() -> None:
    """Every target and seed."""
    import sfm
    from sfm.registry import quantities

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = sfm.load(transfer.MODEL)
    for name in TARGETS:
        load = partial(labelled, name)
        row = transfer_rows.Row(name, "crystals/atoms", quantities()[name], load)
        for result in transfer.over_seeds(base, row, options.seeds):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
