"""Models and datasets on a Hub: find, publish, describe, list. Nothing heavy is imported here.

    resolve(name_or_path, *, revision, token, cache_dir, force_download, local_files_only,
            subfolder, repo_type) -> Path             MODEL of the command line -> local folder
    pull(repo, *, folder, revision, token, cache_dir, force_download, repo_type) -> Path
    push(model, repo_id, *, ...) -> str                bundled name, folder or Hub id -> commit url
    push_folder(folder, repo_id, *, repo_type, private, token, revision, create_pr,
                commit_message) -> str                 folder -> commit url
    list_models(*, remote, author, search, tags, limit, token, cache_dir, repo_type) -> list[Row]
    model_card(report) -> str, dataset_card(spec, statistics) -> str, references(citations) -> str
    write_model_card(folder, report=None) -> Path
    check_folder(folder, repo_type="model")            complete, undamaged, safetensors only

Every failure is a `sfm.errors.HubError` (exit code 4) or `InputError` (2) of one line.
"""

from __future__ import annotations

from sfm.hub.bibtex import references
from sfm.hub.cards import model_card, write_model_card
from sfm.hub.catalogue import Row, list_models
from sfm.hub.dataset_card import dataset_card
from sfm.hub.files import check_folder
from sfm.hub.publish import push, push_folder
from sfm.hub.resolve import pull, resolve

__all__ = [
    "Row",
    "check_folder",
    "dataset_card",
    "list_models",
    "model_card",
    "pull",
    "push",
    "push_folder",
    "references",
    "resolve",
    "write_model_card",
]
