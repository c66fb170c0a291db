"""`sfm pretrain [RECIPE]`: joint pretraining of one model on several domains."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfm.cli.loggers import add_logger, logger_settings

if TYPE_CHECKING:
    from sfm.recipe import Recipe
    from sfm.train.packed import Pack

DEFAULT = "demo"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm pretrain`."""
    parser.add_argument(
        "recipe",
        nargs="?",
        default=DEFAULT,
        metavar="RECIPE",
        help=f"a YAML file, the name of a bundled recipe (default: {DEFAULT}), or a pack of "
        "`sfm dataset pack`",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a key of the recipe"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the model (default: NAME)"
    )
    add_logger(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--print-config", action="store_true", help="print the resolved recipe")
    parser.add_argument("--dry-run", action="store_true", help="the plan, with its time and memory")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = "example: sfm pretrain --set training.steps=200 --out my-model"
    parser.set_defaults(handler=run)


def recipe_path(name: str) -> Path:
    """A file as it is; else the bundled recipe of this name.

    Raises:
        RecipeError: there is neither.
    """
    from sfm.data.bundled import recipes_dir
    from sfm.errors import RecipeError, did_you_mean

    path = Path(name)
    if path.is_file() or path.suffix in (".yaml", ".yml") or "/" in name:
        return path
    known = {p.stem: p for p in sorted(recipes_dir().glob("*.yaml"))}
    if name not in known:
        raise RecipeError(
            f"{name}: no such file and no bundled recipe (bundled: {', '.join(known) or 'none'})."
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def read_recipe(name: str, overrides: Sequence[str]) -> tuple[Recipe, Pack | None]:
    """The recipe of a file, a bundled name or a pack, and the pack.

    Raises:
        RecipeError: there is none, or it is wrong.
        InputError: a damaged pack.
    """
    from sfm.data.archive import is_archive
    from sfm.recipe import load
    from sfm.train.packed import open_pack

    if not is_archive(Path(name)):
        return load(recipe_path(name), overrides), None
    pack = open_pack(name)
    return pack.recipe(overrides), pack


def run(arguments: argparse.Namespace) -> int:
    """Validate the recipe before anything heavy loads, then train."""
    from sfm.cli.output import emit, emit_json, note
    from sfm.train.folders import refuse_old_run

    trains = not (arguments.print_config or arguments.dry_run)
    if trains and arguments.out is not None:
        refuse_old_run(arguments.out, arguments.resume)
    recipe, pack = read_recipe(arguments.recipe, [*arguments.set, *logger_settings(arguments)])
    if arguments.print_config:
        if arguments.json:
            emit_json(recipe.to_dict())
        else:
            emit(recipe.to_yaml().rstrip())
        return 0
    if arguments.dry_run:
        from sfm.train.plan import plan

        folders = pack.folders(recipe) if pack else None
        _show_plan(plan(recipe, folders), arguments.json)
        return 0
    out = arguments.out or Path(recipe.name)
    refuse_old_run(out, arguments.resume)
    folders = pack.folders(recipe) if pack else None
    from sfm.train.pretrain import pretrain

    try:
        folder = pretrain(recipe, out, resume=arguments.resume, folders=folders)
    except KeyboardInterrupt:
        note(f"sfm: stopped; go on with: sfm pretrain {arguments.recipe} --out {out} --resume")
        raise
    show_report(folder, as_json=arguments.json)
    return 0


def _show_plan(plan: dict[str, Any], as_json: bool) -> None:
    from sfm.cli.output import emit, emit_json, table

    if as_json:
        emit_json(plan)
        return
    estimate = plan["estimate"]
    emit(f"{plan['name']}: {plan['parameters']:,} parameters, {plan['steps']} steps")
    table(
        [
            (
                t["dataset"],
                t["encoder"],
                ", ".join(t["quantities"]),
                t["train"],
                t["validation"],
                t["test"],
                f"{100 * t['share']:.0f}%",
            )
            for t in plan["tasks"]
        ],
        ("dataset", "encoder", "quantities", "train", "validation", "test", "share"),
    )
    batch = plan["batch"]
    emit(
        f"a batch has about {batch['systems']:.0f} systems, {batch['tokens']:.0f} tokens, "
        f"{batch['edges']:.0f} edges"
    )
    emit(
        f"about {estimate['seconds_per_step']:.2g} s a step, "
        f"{estimate['training_seconds'] / 60:.1f} min in all, "
        f"{estimate['memory_bytes'] / 1e9:.1f} GB ({estimate['method']})"
    )


def show_report(folder: Path, *, as_json: bool) -> None:
    """The run's `report.json`: the whole of it as JSON, or its table of errors."""
    import json

    from sfm.cli.output import emit, emit_json

    path = folder / "report.json"
    report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if as_json:
        emit_json({"path": str(folder), "report": report})
        return
    metrics = report.get("metrics") or []
    if metrics:
        show_metrics(metrics)
    if report.get("target"):
        from sfm.cli.finetune_report import show_finetuning

        show_finetuning(report)
    for ran in report.get("through") or []:
        loss, without = (
            "not finite (it blew up)" if ran[k] is None else f"{ran[k]:.4g}"
            for k in ("loss", "loss without closure")
        )
        emit(
            f"{ran['dataset']} through {ran['simulator']}: loss {loss}, "
            f"{without} without the closure ({ran['runs']} runs of the "
            f"{ran['split']} split)"
        )
    emit(str(folder))


def show_metrics(metrics: list[dict[str, Any]]) -> None:
    """Errors beside the baseline's, with units."""
    from sfm.cli.output import table

    table(
        [
            (
                m["dataset"],
                m["quantity"],
                m["level"],
                m["n"],
                *_errors(m),
                _unit(m),
                m["baseline"],
                "; ".join(f"{k} {v:.4g}" for k, v in (m.get("extra") or {}).items()),
            )
            for m in metrics
        ],
        ("dataset", "quantity", "level", "n", "MAE", "baseline", "unit", "what it is", "more"),
    )


def _unit(m: dict[str, Any]) -> str:
    """`eV/atom` where the error is per token."""
    unit: str = m["unit"] + (f"/{m['token']}" if m.get("mae_per_token") is not None else "")
    return unit


def _errors(m: dict[str, Any]) -> tuple[str, str]:
    per_token = m.get("mae_per_token")
    if per_token is not None:
        return f"{per_token:.4g}", f"{m['baseline_mae_per_token']:.4g}"
    return f"{m['mae']:.4g}", f"{m['baseline_mae']:.4g}"
