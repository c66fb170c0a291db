"""Publish the mean of two models' weights: of a leg, and of the one that it started from.

    python recipes/average_legs.py FIRST SECOND --recipe LEG.yaml --out runs/joint

The second was trained from the first's weights; its record becomes the mean's. The mean of points
on one path of training often errs less than either end (Izmailov, Podoprikhin, Garipov, Vetrov and
Wilson, Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018). Standard
errors are calibrated anew, on the data of the leg; the errors on record are those on the test
splits of `recipes/sfm-tiny.yaml`, which anybody has.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from sfm.errors import InputError, one_line_errors
from sfm.model import FoundationModel
from sfm.recipe import load
from sfm.train.calibrate import calibrate
from sfm.train.pretrain import evaluate_tasks
from sfm.train.report import card_metrics, write_json
from sfm.train.tasks import open_tasks

TESTED_BY = Path(__file__).parent / "sfm-tiny.yaml"
TESTED = 500  # systems of each task


def mean(first: FoundationModel, second: FoundationModel) -> FoundationModel:
    """The second with the mean of both models' weights and normalisers; both alike but for these.

    Raises:
        InputError: their tensors differ in name or shape.
    """
    one, two = first.state_dict(), second.state_dict()
    shapes = [{k: v.shape for k, v in state.items()} for state in (one, two)]
    if shapes[0] != shapes[1]:
        names = sorted(k for k in one.keys() | two.keys() if shapes[0].get(k) != shapes[1].get(k))
        raise InputError(f"the models are not of one line: '{names[0]}' differs")
    with torch.no_grad():
        for name, value in two.items():
            if value.is_floating_point():
                value.lerp_(one[name], 0.5)
    return second


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--recipe", type=Path, required=True, help="of the second's training")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = mean(*(FoundationModel.from_pretrained(p) for p in (options.first, options.second)))
    calibrated = calibrate(model, open_tasks(load(options.recipe, [])))
    model.save_pretrained(options.out)
    evaluation = evaluate_tasks(model, open_tasks(load(TESTED_BY, [])), max_samples=TESTED)
    record = json.loads((options.second / "training.json").read_text(encoding="utf-8"))
    record |= {"metrics": card_metrics(evaluation.metrics), "uncertainty": calibrated}
    write_json(options.out / "training.json", record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
