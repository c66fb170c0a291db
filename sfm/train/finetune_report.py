"""What a fine-tuning gained and lost, as its report.json and training.json say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm.recipe import FinetuneRecipe
from sfm.train.evaluate import Evaluation
from sfm.train.outcome import Outcome
from sfm.train.pretrain import data_record, split_sizes, write_reports
from sfm.train.report import card_metrics, hardware, thinned, versions
from sfm.train.tasks import TaskData


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """All that is known of one fine-tuning.

    Attributes:
        base_name: of the model that was started from.
        record: the base's training.json; empty where it has none.
        task: what was learnt.
        recipe: the settings.
        resolved: the settings with base, data and quantities, as they are written down.
        outcome: the new model, and how it was made.
        before, after: errors on the test split.
        scratch: those of a model that started from nothing; None where there is none.
        forgetting: losses on the pretraining tasks before and after.
    """

    base_name: str
    record: Mapping[str, Any]
    task: TaskData
    recipe: FinetuneRecipe
    resolved: Mapping[str, Any]
    outcome: Outcome
    before: Evaluation
    after: Evaluation
    scratch: Evaluation | None
    forgetting: Any

    def write(self, out: Path, *, total_seconds: float) -> None:
        """Write training.json, report.json and the figures into `out`."""
        extra = self._extra()
        shared = {k: extra[k] for k in ("mode", "candidates", "target", "forgetting")}
        write_reports(
            out,
            {**self._training(), **shared},
            self.after,
            self.outcome.result,
            total_seconds=total_seconds,
            extra=extra,
        )

    def _extra(self) -> dict[str, Any]:
        """What report.json has besides the training's record."""
        return {
            "mode": self.outcome.mode,
            "asked": self.recipe.mode,
            "note": self.outcome.note,
            "candidates": [c.to_dict() for c in self.outcome.candidates],
            "parameters": dict(self.outcome.counts),
            "target": compare(self.before, self.after, self.scratch),
            "forgetting": self.forgetting,
            "scratch": None if self.scratch is None else self.scratch.to_dict()["metrics"],
        }

    def _training(self) -> dict[str, Any]:
        """The record of the training."""
        outcome, result = self.outcome, self.outcome.result
        (row,) = rows = data_record([self.task])
        return {
            "name": outcome.model.config.name,
            "base_model": self.base_name,
            "recipe": self.resolved,
            "seeds": [self.recipe.training.seed],
            "data": [{**row, "samples": row["samples"]["train"]}],
            "splits": split_sizes(rows),
            "pretraining": {
                k: self.record[k] for k in ("recipe", "data", "versions") if k in self.record
            },
            "uncertainty": dict(outcome.calibrated),
            "versions": versions(),
            "hardware": hardware(result.device),
            "cost": {
                "parameters": outcome.counts["all"],
                "trained parameters": outcome.counts["trainable"],
                "steps": result.steps,
                "training time [s]": round(result.seconds, 1),
                "device": result.device,
            },
            "losses": thinned([r for r in result.history if "loss" in r]),
            "validation": thinned([r for r in result.history if "validation/loss" in r]),
            "metrics": _card_rows(self.after, self.scratch),
        }


def compare(
    before: Evaluation, after: Evaluation, scratch: Evaluation | None
) -> list[dict[str, Any]]:
    """One row per quantity: errors of the baseline, before, from scratch, and fine-tuned."""
    rows = []
    for m in after.metrics:
        start = before.of(m.quantity, m.level, m.encoder)
        row = {
            "quantity": m.quantity,
            "level": m.level,
            "unit": m.unit,
            "n": m.n,
            "baseline": m.baseline,
            "baseline_mae": m.baseline_mae,
            "before_mae": start.mae,
            "after_mae": m.mae,
        }
        if scratch is not None:
            row["scratch_mae"] = scratch.of(m.quantity).mae
        rows.append(row)
    return rows


def _card_rows(evaluation: Evaluation, scratch: Evaluation | None) -> list[dict[str, Any]]:
    rows = card_metrics(evaluation.metrics)
    if scratch is not None:
        for row, other in zip(rows, card_metrics(scratch.metrics), strict=True):
            row["baselines"]["from scratch"] = other["value"]
    return rows
