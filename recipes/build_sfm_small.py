"""Train a model twice as wide as `sfm-tiny`, which starts as it; not bundled (docs/results.md).

    python recipes/build_sfm_small.py [--out runs/sfm-small] [--card FOLDER]

The recipe is that of `sfm-tiny`'s last leg, whose head says how to make its data, with half the
learning rate: the first step says what `sfm-tiny` says (`sfm.model.widening`). Needs an hour and a
half on one core. Errors on record are those on the test splits of `recipes/sfm-tiny.yaml`, which
anybody has, beside those of `sfm-tiny`. The folder of `--card` has its weights in float16.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from average_legs import TESTED, TESTED_BY
from build_sfm_tiny import LIMITS, SHARD

from sfm.errors import one_line_errors
from sfm.hub import check_folder, write_model_card
from sfm.hub.resolve import resolve
from sfm.model import FoundationModel
from sfm.recipe import load
from sfm.train.calibrate import calibrate
from sfm.train.pretrain import evaluate_tasks, pretrain
from sfm.train.report import card_metrics, write_json
from sfm.train.tasks import open_tasks

RECIPE = Path(__file__).parent / "sfm-tiny-larger.yaml"
NARROW = "sfm-tiny"
CHANGES = [
    "name=sfm-small",
    f"start={NARROW}",
    "model.size=small",
    "optimizer.lr=1.5e-3",
    "optimizer.decay=0.65",
    "training.steps=8500",
    "training.seed=21",
]
FIRST_LIMIT = (
    "Trained for 7.3 hours on one core as sfm-tiny, then for 1.5 hours twice as wide "
    "(recipes/build_sfm_small.py): not for production."
)


def card(run: Path, target: Path) -> None:
    """The model of `run` in float16 as `target`, with a card; its errors are of those weights."""
    FoundationModel.from_pretrained(run).save_pretrained(target, max_shard_size=SHARD, half=True)
    model = FoundationModel.from_pretrained(target)
    calibrated = calibrate(model, open_tasks(load(RECIPE, CHANGES)))
    model.save_pretrained(target, max_shard_size=SHARD, half=True)
    evaluation = evaluate_tasks(model, open_tasks(load(TESTED_BY, [])), max_samples=TESTED)
    record = json.loads((run / "training.json").read_text(encoding="utf-8"))
    metrics = card_metrics(evaluation.metrics)
    _beside_the_narrow_one(metrics)
    record |= {
        "metrics": metrics,
        "uncertainty": calibrated,
        "limits": [FIRST_LIMIT, *LIMITS[1:]],
        "licence": "Apache-2.0",
    }
    write_json(target / "training.json", record)
    write_model_card(target)
    check_folder(target)


def _beside_the_narrow_one(metrics: list[dict[str, Any]]) -> None:
    """Add the errors of the model that was started from to the baselines, in place."""
    path = resolve(NARROW) / "training.json"
    key = ("dataset", "level", "quantity", "metric")
    narrow = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    values = {tuple(m[k] for k in key): m["value"] for m in narrow}
    for metric in metrics:
        value = values.get(tuple(metric[k] for k in key))
        if value is not None:
            metric["baselines"][NARROW] = value


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sfm-small"))
    parser.add_argument("--card", type=Path, help="write a folder with a card")
    arguments = parser.parse_args()
    if not (arguments.out / "training.json").exists():
        resume = (arguments.out / "run" / "last.ckpt").exists()
        pretrain(load(RECIPE, CHANGES), arguments.out, resume=resume)
    if arguments.card:
        card(arguments.out, arguments.card)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
