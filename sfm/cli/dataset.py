"""`sfm dataset list | show NAME | build NAME | convert IN OUT | check FILE | pack RECIPE`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfm.cli import pack
from sfm.cli.labels import add_names, names_of
from sfm.cli.rows import add_skip, skipping

if TYPE_CHECKING:
    from sfm.data.packing import Item


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm dataset`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="datasets of the installed plugins")
    listing.add_argument("--domain", help="only this domain")
    listing.set_defaults(handler=show_all)

    show = actions.add_parser("show", help="columns with units, licence, origin, first samples")
    show.add_argument(
        "name", metavar="NAME", help="plugin/part, part, a dataset's folder, or a pack"
    )
    show.add_argument("--samples", type=int, default=2, help="how many samples to preview")
    show.set_defaults(handler=show_one)

    build = actions.add_parser("build", help="make it again from its sources")
    build.add_argument("name", metavar="NAME", help="plugin/part or part")
    for option, kind, text in (
        ("--size", int, "number of systems"),
        ("--workers", int, "processes"),
        ("--seed", int, "of its random choices"),
        ("--out", Path, "folder to write to"),
    ):
        build.add_argument(option, type=kind, help=text)
    build.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="K=V",
        help="settings of this dataset (see its build.py): grid=64 cluster=tcp://host:8786",
    )
    build.set_defaults(handler=build_one)

    convert = actions.add_parser("convert", help="loss-free conversion")
    convert.add_argument("input", metavar="IN", help="readable file, dataset folder or name")
    convert.add_argument(
        "output",
        metavar="OUT",
        help=".extxyz, .npz, .db or .aselmdb (ASE), .h5, or a new dataset folder",
    )
    convert.add_argument("--level", help="level of theory of labels that have none")
    convert.add_argument("--domain", help="domain whose reader reads IN")
    convert.set_defaults(handler=convert_one)

    check = actions.add_parser("check", help="find wrong units, signs, outliers, duplicates")
    check.add_argument("input", metavar="FILE", help="readable file, dataset folder or name")
    check.add_argument("--domain", help="domain whose reader reads FILE")
    add_skip(check)
    check.add_argument("--limit", type=int, default=20, help="findings per check")
    check.set_defaults(handler=check_one)

    packing = actions.add_parser("pack", help="a recipe and its data in one file, to train from")
    pack.configure(packing)

    for action in (convert, check):
        add_names(action)
    for action in (listing, show, build, convert, check, packing):
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")


def show_all(arguments: argparse.Namespace) -> int:
    """One row per dataset."""
    from sfm.cli.output import emit, emit_json, table
    from sfm.registry import parts

    specs = [(part.full_name, part.load()) for part in parts("datasets", domain=arguments.domain)]
    if arguments.json:
        emit_json({"datasets": [spec_json(name, spec) for name, spec in specs]})
    elif not specs:
        emit("no datasets; `sfm plugin list` shows what is installed")
    else:
        table(
            [
                (
                    name,
                    "held out" if spec.held_out else "training",
                    "yes" if spec.built else "to build",
                    ", ".join(spec.levels),
                    spec.summary,
                )
                for name, spec in specs
            ],
            ("dataset", "use", "here", "levels", "summary"),
        )
    return 0


def spec_json(name: str, spec: Any) -> dict[str, Any]:
    """A dataset and whether its files are here, as plain JSON."""
    from dataclasses import asdict

    body = asdict(spec)
    body.pop("root")
    return {**body, "name": name, "folder": str(spec.folder), "here": spec.built}


def _open(name: str, **options: Any) -> tuple[Any, Any]:
    """(spec or None, open dataset) of a registered name or a folder."""
    from sfm.data.storage import open_dataset
    from sfm.registry import find

    if Path(name).is_dir():
        return None, open_dataset(name, **options)
    spec = find("datasets", name).load()
    return spec, open_dataset(spec.folder, length_unit=spec.length_unit, **options)


def show_one(arguments: argparse.Namespace) -> int:
    """Card, columns, sizes of the splits, a preview."""
    from sfm.cli.output import emit, emit_json, table
    from sfm.data.archive import is_archive
    from sfm.data.splits import SPLITS

    if is_archive(Path(arguments.name)):
        return pack.show(arguments)
    spec, data = _open(arguments.name)
    splits = {split: len(_open(arguments.name, split=split)[1]) for split in SPLITS}
    columns = list(data.columns)
    preview = [preview_of(data[i]) for i in range(min(arguments.samples, len(data)))]
    if arguments.json:
        from dataclasses import asdict

        emit_json(
            {
                "name": data.name,
                "domain": data.domain,
                "info": data.info,
                "splits": splits,
                "columns": [{"name": c.name, **asdict(c)} for c in columns],
                "samples": preview,
            }
        )
        return 0
    emit(f"{data.name} ({data.domain}): {len(data)} samples, {len(columns)} columns")
    if spec is not None:
        emit(spec.summary)
        for key in ("licence", "origin", "citation"):
            value = getattr(spec, key)
            emit(f"{key}: {'; '.join(value) if isinstance(value, tuple) else value}")
    emit("samples: " + ", ".join(f"{n} {split}" for split, n in splits.items()) + "\n")
    table(
        [
            (c.quantity, c.unit, c.level or "", c.role, "x".join(map(str, c.shape)), c.dtype)
            for c in columns
        ],
        ("column", "unit", "level", "role", "shape", "dtype"),
    )
    for row in preview:
        emit("")
        for key, value in row.items():
            emit(f"  {key:<22} {value}")
    return 0


def preview_of(sample: Any) -> dict[str, Any]:
    """What a sample holds, short enough for a row of a table."""
    from sfm.data.elements import formula

    row: dict[str, Any] = {"id": sample.id, "level": sample.level}
    if len(sample.types):
        row["atoms"] = formula(sample.types)
    values = {**sample.fields, **sample.conditions}
    # a label may be the same quantity as an input: its value later, or a better one
    values |= {f"{k}@{sample.level}" if k in values else k: v for k, v in sample.labels.items()}
    for name, value in values.items():
        size = getattr(value, "size", 1)
        if size == 1:
            row[name] = float(value.item() if hasattr(value, "item") else value)
        elif size <= 6:
            row[name] = value.tolist()
        else:
            row[name] = (
                f"{'x'.join(map(str, value.shape))}, {value.min():.4g} ... {value.max():.4g}"
            )
    return row


def build_one(arguments: argparse.Namespace) -> int:
    """Run the dataset's `build.py`."""
    import os
    import subprocess
    import sys

    from sfm.cli.output import emit, emit_json, note
    from sfm.cli.values import parse_settings
    from sfm.data.lock import HELD, only_run
    from sfm.errors import InputError, RunError
    from sfm.registry import find

    spec = find("datasets", arguments.name).load()
    script = spec.folder / "build.py"
    if not script.is_file():
        raise InputError(f"{script}: not there, so '{spec.name}' cannot be built again")
    options = []
    folder = arguments.out or spec.folder
    for name, value in (
        ("size", arguments.size),
        ("workers", arguments.workers),
        ("seed", arguments.seed),
        ("out", folder),
    ):
        if value is not None:
            options += [f"--{name}", str(value)]
    parse_settings(arguments.set)
    for setting in arguments.set:
        options += ["--set", setting]
    note(f"{script} {' '.join(options)}")
    folder = arguments.out or spec.folder
    with only_run(folder):
        # a process of its own: its workers find their functions there under any start method
        environment = {**os.environ, HELD: os.path.realpath(folder)}
        words = [sys.executable, str(script), *options]
        code = subprocess.run(words, stdout=2, env=environment).returncode
    if code == InputError.exit_code:
        raise InputError(f"{script} refused its options; its own message is above")
    if code:
        raise RunError(f"{script} left with code {code}; its own message is above")
    if arguments.json:
        emit_json({"name": spec.name, "path": str(folder)})
    else:
        emit(str(folder))
    return 0


def _items(arguments: argparse.Namespace) -> Iterator[Item]:
    """The samples of `arguments.input`, their labels under our names and in our units.

    One after another; only new names of labels need all of them at once.
    """
    from dataclasses import replace

    from sfm.data.convert import iterate_items
    from sfm.data.label_names import for_files
    from sfm.registry import find

    source, names = arguments.input, names_of(arguments)
    path = Path(source)
    if names and not path.is_file():
        raise for_files(source)
    if path.exists() or path.suffix:
        items = iterate_items(path, domain=arguments.domain)
    else:
        spec = find("datasets", source).load()
        items = iterate_items(spec.folder, length_unit=spec.length_unit)
    if names:
        every = list(items)
        samples = names.apply([item.sample for item in every], source)
        items = iter([replace(i, sample=s) for i, s in zip(every, samples, strict=True)])
    return _saying_unused(items, source)


def _saying_unused(items: Iterator[Item], source: str) -> Iterator[Item]:
    """The items, and in the end one line on numbers that no label takes."""
    import warnings

    from sfm.data.label_names import unused
    from sfm.errors import InputWarning

    kinds: dict[tuple[str, ...], Any] = {}
    for item in items:
        if item.sample.extras:
            kinds.setdefault((*item.sample.extras, "", *item.sample.labels), item.sample)
        yield item
    if left := unused(list(kinds.values())):
        warnings.warn(f"{source}: {left}", InputWarning, stacklevel=2)


def convert_one(arguments: argparse.Namespace) -> int:
    """Read, name the level if need be, write."""
    from sfm.cli.output import emit, emit_json
    from sfm.data.convert import refuse_target, with_level, write_items

    refuse_target(arguments.output)
    items = _items(arguments)
    if arguments.level:
        items = with_level(items, arguments.level, arguments.input)
    count = write_items(arguments.output, items)
    if arguments.json:
        emit_json({"samples": count, "path": arguments.output})
    else:
        emit(arguments.output)
    return 0


def check_one(arguments: argparse.Namespace) -> int:
    """Exit code 1 if something is certainly wrong."""
    from dataclasses import asdict

    from sfm.cli.output import emit, emit_json, table, warn
    from sfm.data.checking import check_samples

    with skipping(arguments) as skipped:
        samples = [item.sample for item in _items(arguments)]
    if skipped.rows:
        warn([skipped.summary()])
    findings = check_samples(samples, limit=arguments.limit)
    errors = sum(f.severity == "error" for f in findings)
    if arguments.json:
        emit_json(
            {
                "samples": len(samples),
                "skipped": skipped.rows,
                "errors": errors,
                "findings": [asdict(f) for f in findings],
            }
        )
    else:
        if findings:
            table(
                [(f.severity, f.check, f.where, f.message) for f in findings],
                ("severity", "check", "where", "what"),
            )
        emit(f"{len(samples)} samples, {errors} errors, {len(findings) - errors} warnings")
    return 1 if errors else 0
