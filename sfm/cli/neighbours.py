"""`sfm neighbours MODEL INPUT --data DATASET`: what a dataset holds that is like the input."""

from __future__ import annotations

import argparse
from typing import Any

from sfm.cli.inputs import add_extrapolate, add_model_and_input
from sfm.cli.rows import add_skip, skipping


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm neighbours`."""
    add_model_and_input(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATASET|FILE",
        help="what is searched: a dataset's name or folder, or a file of systems",
    )
    add_skip(parser)
    parser.add_argument("--count", type=int, default=5, help="neighbours (default: %(default)s)")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), help="only this split of a dataset"
    )
    parser.add_argument("--domain", help="treat the input as this domain's (default: the data's)")
    parser.add_argument("--level", help="level of theory that routes the experts")
    add_extrapolate(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = "example: sfm neighbours sfm-tiny CCO --data molecules/molecules-measured"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Search and print."""
    from sfm.cli.inputs import refuse_missing_data, refuse_missing_input
    from sfm.cli.output import emit_json, input_warnings, note, warn
    from sfm.errors import InputError

    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: give 1 or more")
    refuse_missing_input(arguments.input)
    refuse_missing_data(arguments.data)
    note(f"loading {arguments.model}")
    from sfm.model import FoundationModel

    model = FoundationModel.from_pretrained(arguments.model)
    told: list[str] = []
    with input_warnings(told), skipping(arguments) as skipped:
        answers = model.neighbours(
            arguments.input,
            arguments.data,
            count=arguments.count,
            split=arguments.split,
            domain=arguments.domain,
            level=arguments.level,
            extrapolate=arguments.extrapolate,
        )
    systems = [entry(one) for one in (answers if isinstance(answers, list) else [answers])]
    if skipped.rows:
        told.append(skipped.summary())
    told += dict.fromkeys(line for system in systems for line in system["warnings"])
    if arguments.json:
        emit_json({"part": model.config.name, "systems": systems, "warnings": told})
    else:
        for system in systems:
            _print(system)
        warn(told)
    return 0


def entry(hood: Any) -> dict[str, Any]:
    """A `sfm.model.similar.Neighbourhood` as plain JSON, labels as all commands say quantities."""
    from sfm.cli.results import quantity
    from sfm.data.elements import formula

    rows = []
    for near in hood.neighbours:
        labels = []
        for label in near.labels:
            body = quantity(label.quantity, label.value, label.unit, warnings=[])
            labels.append({"quantity": label.quantity, "level": label.level, **body})
        rows.append(
            {
                "id": near.id,
                "distance": near.distance,
                "formula": formula(near.sample.types),
                "labels": labels,
            }
        )
    told = []
    if lines := hood.left_out:
        told.append(
            f"{hood.data}: systems that {hood.encoder} cannot read: {len(lines)} ({lines[0]})"
        )
    return {
        "id": hood.id,
        "data": hood.data,
        "encoder": hood.encoder,
        "level": hood.level,
        "searched": hood.searched,
        "usual_distance": hood.usual,
        "neighbours": rows,
        "warnings": told,
    }


def _print(system: dict[str, Any]) -> None:
    from sfm.cli.output import emit, table
    from sfm.cli.results import text_of

    usual = system["usual_distance"]
    emit(
        f"{system['id']}: nearest of {system['searched']} structures of {system['data']}, "
        f"features of {system['encoder']} at {system['level']}"
    )
    if usual is not None:
        emit(f"structures there are {usual:.3g} from their own nearest (median)")
    rows = []
    for near in system["neighbours"]:
        head = [near["id"], near["formula"], f"{near['distance']:.3g}"]
        for label in near["labels"] or [None]:
            cells = ["", "", "", ""]
            if label is not None:
                cells = [label["quantity"], text_of(label), label["unit"], label["level"]]
            rows.append([*head, *cells])
            head = ["", "", ""]
    table(rows, ("structure", "formula", "distance", "label", "value", "unit", "level"))
