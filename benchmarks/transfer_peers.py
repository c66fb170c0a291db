"""A rival that knows crystals: frozen features of published potentials, in our closed form.

Of every row of crystals in `transfer_rows.py`, a Gaussian process on composition and the features
of CHGNet or SevenNet-0 (`peer_features.py`), without and with elemental descriptors beside them;
the form that labels left out with their relatives prefer is judged on the same test systems as
`auto`. Both saw the Materials Project in training, the test crystals of all rows among it. Not part
of `run.py`; what is there already is not done again.

    python benchmarks/transfer_peers.py PEER --python PYTHON [--seeds 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transfer_scratch
from peers import REQUIREMENTS

PATH = Path(__file__).parent / "transfer_peers.json"
SCRIPT = Path(__file__).parent / "peer_features.py"
PEERS = ("chgnet", "sevennet")


def stored() -> list[dict[str, Any]]:
    """What was measured: peer, row, seed, error."""
    return transfer_scratch.stored(PATH)


def features(row: Any, pairs: Any, peer: str, python: str) -> torch.Tensor:
    """(S, D) features of the row's systems, kept in the cache."""
    from sfm_crystals.data.teaching import taught

    from sfm.data.storage import cache_dir

    path = cache_dir() / "benchmarks" / f"features-{peer}-{row.name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    tasks = [
        {"id": str(i), "types": s.types.tolist(), "positions": s.positions.tolist(),
         "cell": s.cell.tolist()}
        for i, (_, s) in enumerate(pairs)
    ]  # fmt: skip
    rows = taught(SCRIPT, python, tasks, path, requires=REQUIREMENTS[peer], arguments=[peer])
    return torch.tensor([rows[task["id"]]["features"] for task in tasks], dtype=torch.float64)


def measure(prepared: Any, seed: int, features: torch.Tensor) -> dict[str, Any]:
    """The error of the form that is chosen without the test systems, and which it is."""
    import transfer

    from sfm.nn.kernel import COMPOSITION, FEATURES, is_tame
    from sfm.train.closed_form import Form, answers, fit_form
    from sfm.train.cross_fit import cross_fitted

    _, train, test = transfer.split(prepared.row, prepared.pairs, seed, transfer.LABELS)
    raw = {**prepared.inputs.raw, FEATURES: features}
    inputs = dataclasses.replace(prepared.inputs, raw=raw)
    described = [name for name in raw if is_tame(name) and "elemental" in name]
    skewed = not prepared.row.quantity.extensive
    forms = [
        Form(name, (COMPOSITION, FEATURES, *more), smooth, skewed=skewed)
        for more, beside in (((), ""), (described, " and elemental"))
        for name, smooth in ((f"ridge{beside}", False), (f"gp{beside}", True))
    ]
    fits = cross_fitted(prepared.model, [fit_form(f, inputs.of(train)) for f in forms])
    best = min(fits, key=lambda f: f.mae)
    values, _ = answers(prepared.model, best, inputs.of(test))
    error = float((values - prepared.inputs.labels[test]).abs().mean())
    return {"row": prepared.row.name, "seed": seed, "form": best.form.name, "mae": error}


def main() -> int:
    """Adds to `PATH` what it lacks."""
    import transfer
    import transfer_rows
    from turns import say

    import sfm

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--python", default=sys.executable, help="a Python that has the peer")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = stored()
    have = {(d["peer"], d["row"], d["seed"]) for d in done}
    base = sfm.load(transfer.MODEL)
    for row in transfer_rows.rows():
        seeds = [s for s in range(options.seeds) if (options.peer, row.name, s) not in have]
        if row.encoder != "crystals/atoms" or not seeds:
            continue
        prepared = transfer.Prepared(base, row, controls=False)
        rows = features(row, prepared.pairs, options.peer, options.python)
        for seed in seeds:
            done.append({"peer": options.peer, **measure(prepared, seed, rows)})
            say(options.peer, row.name, seed, done[-1]["form"], f"{done[-1]['mae']:.3g}")
        PATH.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
