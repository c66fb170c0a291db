"""Write into a model folder's config.json what its training data cover, and turn repulsion on.

    python recipes/record_coverage.py FOLDER [...]

For folders of a format that recorded neither: the weights stay, and so does every prediction within
the data. Reads the data of the folder's training.json: a recipe's tasks, or rows under `data` that
name bundled datasets.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfm.errors import InputError, one_line_errors
from sfm.hub import check_folder, write_model_card
from sfm.hub.files import TRAINING
from sfm.model import FoundationModel
from sfm.model.checkpoint import CONFIG
from sfm.recipe import Goal, parse
from sfm.registry import find
from sfm.train.cover import cover
from sfm.train.tasks import TaskData, open_folder, open_tasks


def tasks_of(model: FoundationModel, record: dict[str, Any]) -> list[TaskData]:
    """What the model was trained on.

    Raises:
        InputError: its record does not say.
    """
    if "tasks" in (record.get("recipe") or {}):
        return open_tasks(parse(record["recipe"]))
    tasks = []
    for row in record.get("data") or ():
        part = find("datasets", row["name"])
        spec = part.load()
        tasks.append(
            open_folder(
                spec.folder,
                {name: Goal() for name in row["quantities"]},
                name=part.full_name,
                encoder=row.get("encoder") or model.encoder_for(spec.domain),
                levels=row["levels"],
                length_unit=spec.length_unit,
            )
        )
    if not tasks:
        raise InputError(f"model '{model.config.name}': its {TRAINING} names no data")
    return tasks


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="+")
    for folder in parser.parse_args(argv).folder:
        model = FoundationModel.from_pretrained(folder)
        record = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
        cover(model, tasks_of(model, record))
        energy = any(t.quantity == "energy" for t in model.config.targets)
        config = dataclasses.replace(model.config, repulsion="zbl" if energy else None)
        text = json.dumps(config.to_dict(), indent=2, ensure_ascii=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        write_model_card(folder)
        check_folder(folder)
        print(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
