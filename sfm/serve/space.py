"""`sfm serve --export-space DIR`: the page as a Hugging Face Space (Docker).

https://huggingface.co/docs/hub/spaces-sdks-docker: a README with a YAML head, a Dockerfile, a
process that listens on `app_port` as user 1000.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sfm.data.replacing import replacing
from sfm.errors import InputError
from sfm.hub.files import check_folder, repo_files
from sfm.hub.resolve import bundled, locate
from sfm.version import __version__

PORT = 7860
LICENCE = "apache-2.0"


def export(models: Sequence[str], folder: Path) -> Path:
    """Write the Space; models that are folders of this machine are copied into it.

    Args:
        models: bundled names, folders or Hub ids.
        folder: where to; it must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        InputError: no such model, or `folder` holds something.
    """
    from huggingface_hub import SpaceCardData

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not empty; name another folder")
    names, copies = [], {}
    for model in models:
        place = locate(model)
        if place.folder is None or model in bundled():
            names.append(model)
        else:
            source = check_folder(place.folder)
            copies[source.resolve().name] = source
            names.append(f"./models/{source.resolve().name}")
    head = SpaceCardData(
        title=f"sfm: {', '.join(name.rpartition('/')[2] for name in names)}",
        sdk="docker",
        app_port=PORT,
        license=LICENCE,
        models=[name for name in names if "/" in name and not name.startswith(".")] or None,
        tags=["sfm"],
    )
    with replacing(folder) as scratch:
        for name, source in copies.items():
            for path in repo_files(source):
                target = scratch / "models" / name / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        text = f"---\n{head.to_yaml()}\n---\n\nMade by `sfm serve --export-space`.\n"
        (scratch / "README.md").write_text(text, encoding="utf-8")
        (scratch / "Dockerfile").write_text(_dockerfile(names, bool(copies)), encoding="utf-8")
    return folder


def _dockerfile(names: Sequence[str], copied: bool) -> str:
    words = ["sfm", "serve", *names, "--public", "--host", "0.0.0.0", "--port", str(PORT)]
    shown = ", ".join(f'"{word}"' for word in words)
    lines = [
        "FROM python:3.11-slim",
        "RUN useradd -m -u 1000 user",
        f"RUN pip install --no-cache-dir 'sfm-hub[all]=={__version__}'",
        "USER user",
        "WORKDIR /home/user/app",
        *(["COPY --chown=user models models"] if copied else []),
        f"EXPOSE {PORT}",
        f"CMD [{shown}]",
    ]
    return "\n".join(lines) + "\n"
