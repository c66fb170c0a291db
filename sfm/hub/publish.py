"""Publish a model or dataset folder: one repository, one commit, allowed files only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfm.errors import InputError, InputWarning
from sfm.formats.strict_json import read_object
from sfm.hub import croissant
from sfm.hub.client import conversation
from sfm.hub.dataset_card import published_card
from sfm.hub.files import ADAPTER, check_folder, repo_files
from sfm.hub.resolve import locate, resolve
from sfm.version import __version__


def push(
    model: str | Path,
    repo_id: str,
    *,
    repo_type: str = "model",
    token: str | bool | None = None,
    **options: Any,
) -> str:
    """Publish MODEL (a bundled name, a folder, another Hub id); the rest as `push_folder`."""
    place = locate(model, repo_type=repo_type)
    folder = place.folder or resolve(model, token=token, repo_type=repo_type)
    return push_folder(folder, repo_id, repo_type=repo_type, token=token, **options)


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    repo_type: str = "model",
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """Make the repository (if need be) and put the folder into it as one commit.

    Unchanged files are not sent again. Weights (or parquet files) that the folder no longer has are
    deleted in the same commit, so that a repository never mixes two models. Without a README.md a
    card is made from config.json and training.json. A dataset gets Croissant metadata, and a card
    with the `configs` that `datasets.load_dataset` and the Hub's viewer go by.

    Args:
        folder: checked first: complete, undamaged, safetensors only.
        repo_id: `owner/name`.
        repo_type: "model" or "dataset".
        private: make the repository private when it is created.
        token: bearer token; None takes HF_TOKEN or the one stored by `hf auth login`.
        revision: branch, made from `main` if it does not exist.
        create_pr: open a pull request instead of committing.
        commit_message: first line of the commit.
        links: of a model, the repository of each of its datasets by name: `sfm.hub.links`.

    Returns:
        URL of the commit (of the pull request with `create_pr`).

    Raises:
        InputError: no such folder, a wrong repository name, or a link from no dataset of the model.
        HubError: the folder is incomplete or damaged; the Hub refused or could not be reached.
    """
    folder = check_folder(Path(folder).expanduser(), repo_type)
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} is not a repository name: write it as 'owner/name'")
    if (folder / ADAPTER).is_file():
        base = str(read_object(folder / ADAPTER).get("base_model_name_or_path"))
        if Path(base).is_absolute():
            raise InputError(
                f"{folder}: its base is a folder of this machine ({base}): push that first, and "
                "fine-tune from its name on the Hub"
            )
    if links and repo_type != "model":
        raise InputError("a dataset links to none: links are a model's")
    if create_pr and revision not in (None, "main"):
        raise InputError("a pull request goes to main: give either create_pr or a revision")
    files = {path.relative_to(folder).as_posix(): path for path in repo_files(folder, repo_type)}
    with conversation(repo_id, revision=revision, action="write to"):
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name="sfm", library_version=__version__)
        # what cannot be published is known before there is a repository
        texts = _texts(
            folder, files, repo_id, repo_type, f"{api.endpoint}/datasets/{repo_id}", links or {}
        )
        api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        if revision not in (None, "main"):
            assert revision is not None
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            operations=_operations(api, files, texts, repo_id, repo_type, revision),
            commit_message=commit_message
            or f"Upload {repo_id.split('/')[1]} with sfm {__version__}",
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
        )
    return str(commit.pr_url if create_pr else commit.commit_url)


def _texts(
    folder: Path,
    files: Mapping[str, Path],
    repo_id: str,
    repo_type: str,
    url: str,
    links: Mapping[str, str],
) -> dict[str, str]:
    """Files that are made for the repository, by name: a card where there is none, what links."""
    texts: dict[str, str] = {}
    if repo_type == "dataset":
        texts = _explained(folder, files, url)
    elif "README.md" not in files:
        from sfm.hub.cards import model_card, report_of

        report = {**report_of(folder, name=repo_id.split("/")[1]), "repo": repo_id}
        texts = {"README.md": model_card(report)}
    if links:
        from sfm.hub.links import linked

        card = texts.get("README.md") or files["README.md"].read_text(encoding="utf-8")
        texts = linked(folder, card, links)
    return texts


def _operations(
    api: Any,
    files: Mapping[str, Path],
    texts: Mapping[str, str],
    repo_id: str,
    repo_type: str,
    revision: str | None,
) -> list[Any]:
    """Additions, and deletions of stale weights."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(name, str(path)) for name, path in files.items() if name not in texts
    ]
    operations += [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
    stale = (".safetensors", ".safetensors.index.json", ".parquet")
    for name in api.list_repo_files(repo_id, repo_type=repo_type, revision=revision):
        if name.endswith(stale) and name not in files:
            operations.append(CommitOperationDelete(name, is_folder=False))
    return operations


def _explained(folder: Path, files: Mapping[str, Path], url: str) -> dict[str, str]:
    """Text of the files that say what a dataset holds: its card, and Croissant metadata.

    Raises:
        InputError: the head of the card cannot be read.
    """
    try:
        data = croissant.text(folder, url=url)
    except InputError as error:  # not written by sfm: its card is its author's affair
        warnings.warn(f"published without Croissant metadata: {error}", InputWarning, stacklevel=4)
        return {}
    texts = {"README.md": published_card(folder)}
    return texts if croissant.NAME in files else {**texts, croissant.NAME: data}
