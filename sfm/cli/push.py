"""`sfm push MODEL REPO`: publish a model or a dataset."""

from __future__ import annotations

import argparse

from sfm.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm push`."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, folder or Hub id")
    parser.add_argument("repo", metavar="REPO", help="owner/name")
    parser.add_argument("--dataset", action="store_true", help="MODEL is a dataset")
    parser.add_argument("--private", action="store_true", help="if the repository is made now")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to write to")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
    parser.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="DATASET=REPO",
        help="where a dataset of the model's record is published; the card links it, and the Hub "
        "shows the errors on it; may be repeated",
    )
    parser.add_argument("--message", help="first line of the commit")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Publish and say where."""
    from sfm.cli.output import emit, emit_json
    from sfm.hub.publish import push

    links = {}
    for word in arguments.link:
        name, equals, repo = word.partition("=")
        if not equals or name in links:
            raise InputError(f"--link {word}: write DATASET=REPO, each dataset once")
        links[name] = repo
    url = push(
        arguments.model,
        arguments.repo,
        repo_type="dataset" if arguments.dataset else "model",
        private=arguments.private or None,
        revision=arguments.revision,
        create_pr=arguments.create_pr,
        commit_message=arguments.message,
        links=links,
    )
    if arguments.json:
        emit_json({"repo": arguments.repo, "url": url})
    else:
        emit(url)
    return 0
