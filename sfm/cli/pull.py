"""`sfm pull REPO`: download a model or a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm pull`."""
    parser.add_argument("repo", metavar="REPO", help="owner/name or owner/name@revision")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a copy here, beside the cache")
    parser.add_argument("--dataset", action="store_true", help="REPO is a dataset")
    parser.add_argument("--revision", help="branch, tag or commit")
    parser.add_argument("--force", action="store_true", help="download again")
    parser.add_argument(
        "--merge", action="store_true", help="of an adapter: write the whole model into --out"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Download and say where it lies."""
    from sfm.cli.output import emit, emit_json
    from sfm.hub.resolve import pull

    if arguments.merge:
        return _merge(arguments)
    folder = pull(
        arguments.repo,
        folder=arguments.out,
        revision=arguments.revision,
        force_download=arguments.force,
        repo_type="dataset" if arguments.dataset else "model",
    )
    if arguments.json:
        emit_json({"repo": arguments.repo, "path": str(folder)})
    else:
        emit(str(folder))
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    """An adapter and its base as one model in `--out`."""
    from sfm.cli.output import emit, emit_json
    from sfm.errors import InputError
    from sfm.model import FoundationModel
    from sfm.train.folders import refuse_old_run

    if arguments.out is None or arguments.dataset:
        raise InputError("--merge writes a model: name a folder with --out")
    refuse_old_run(arguments.out, False)
    options = {"revision": arguments.revision, "force_download": arguments.force}
    model = FoundationModel.from_pretrained(arguments.repo, **options)
    model.save_pretrained(arguments.out)
    if arguments.json:
        emit_json({"repo": arguments.repo, "path": str(arguments.out)})
    else:
        emit(str(arguments.out))
    return 0
