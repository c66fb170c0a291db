"""`sfm finetune MODEL --data FILE|DATASET`: adapt a model to your data."""

from __future__ import annotations

import argparse
from pathlib import Path

from sfm.cli.labels import add_names, names_of
from sfm.cli.loggers import add_logger, logger_settings

# as `sfm.recipe.MODES`, which is too heavy for --help
MODES = ("auto", "ridge", "gp", "delta", "head", "full", "lora")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm finetune`."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, folder or Hub id")
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE|DATASET",
        help="labelled systems, or a dataset's name",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="QUANTITY",
        help="what to learn; may be repeated. "
        "With energy by itself come the forces and the stress that the data have",
    )
    add_names(parser)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--intensive",
        action="store_true",
        help="the targets that no plugin knows do not grow with the system; their unit is in the "
        "header of the column, name[unit], or in --unit",
    )
    kinds.add_argument(
        "--extensive", action="store_true", help="they do: two copies have twice the value"
    )
    parser.add_argument(
        "--trust-labels", action="store_true", help="train on labels that look wrong, too"
    )
    parser.add_argument(
        "--level",
        help="level of theory of the labels, where the data has none, or which of several",
    )
    parser.add_argument("--encoder", help="which encoder, where several fit")
    parser.add_argument(
        "--mode", choices=MODES, help="how to learn; auto (the default) lets all compete"
    )
    parser.add_argument(
        "--baseline",
        metavar="THEORY[,NAME=VALUE...]",
        help="learn the energy less that of a theory: uff, tight-binding, a model, ...",
    )
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="a YAML file with settings")
    parser.add_argument("--steps", type=int, help="short for --set training.steps=N")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a setting"
    )
    add_logger(parser)
    parser.add_argument(
        "--scratch", action="store_true", help="also train from nothing, to compare"
    )
    parser.add_argument("--out", type=Path, default=Path("finetuned"), metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = (
        "examples: sfm finetune sfm-tiny --data molecules/polarizability-dft; "
        "sfm finetune sfm-tiny --data mine.csv --target log_solubility --unit 1 --intensive"
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune and show what was gained on the target and lost on the pretraining tasks."""
    from sfm.cli.inputs import refuse_missing_data
    from sfm.cli.output import note
    from sfm.cli.pretrain import show_report
    from sfm.recipe import load_finetune
    from sfm.train.folders import refuse_old_run

    refuse_missing_data(arguments.data)
    refuse_old_run(arguments.out, arguments.resume)
    names = names_of(arguments, _own(arguments))
    overrides = [*arguments.set, *logger_settings(arguments)]
    if arguments.steps is not None:
        overrides.append(f"training.steps={arguments.steps}")
    recipe = load_finetune(arguments.recipe, overrides)
    from sfm.train.finetune import finetune

    # as in Python, the energy by itself stands for its derivatives too
    targets = list(arguments.target or ())
    target = targets[0] if len(targets) == 1 else targets or None
    try:
        folder = finetune(
            arguments.model,
            arguments.data,
            target,
            arguments.mode,
            arguments.out,
            recipe=recipe,
            encoder=arguments.encoder,
            level=arguments.level,
            scratch=arguments.scratch,
            resume=arguments.resume,
            names=names,
            trust_labels=arguments.trust_labels,
            baseline=arguments.baseline,
        )
    except KeyboardInterrupt:
        note("sfm: stopped; go on with the same command and --resume")
        raise
    show_report(folder, as_json=arguments.json)
    return 0


def _own(arguments: argparse.Namespace) -> dict[str, bool]:
    """Targets that `--intensive` or `--extensive` describes, with whether they are extensive.

    Raises:
        InputError: there is none to describe.
    """
    from sfm.errors import InputError

    targets = list(arguments.target or ())
    # one target needs not be named twice: --unit 1
    arguments.unit = [
        f"{targets[0]}={u}" if "=" not in u and len(targets) == 1 else u for u in arguments.unit
    ]
    if not (arguments.intensive or arguments.extensive):
        return {}
    if not targets:
        raise InputError("--intensive and --extensive are about a --target: name it")
    return dict.fromkeys(targets, arguments.extensive)
