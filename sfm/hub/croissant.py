"""Croissant 1.0 metadata of a dataset repository: files with hashes, columns with unit and level.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html. `push --dataset` adds it as
`croissant.json`, so that search engines and loaders of datasets know what the columns hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from sfm.errors import InputError

NAME = "croissant.json"
_WORDS = """citeAs column equivalentProperty extract field fileProperty fileObject fileSet format
    includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated
    replace samplingRate separator source subField transform"""
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    **{word: f"cr:{word}" for word in _WORDS.split()},
}
_TYPES = {"string": "sc:Text", "bool": "sc:Boolean"}


def croissant(folder: Path, *, url: str = "") -> dict[str, Any]:
    """The metadata of the dataset in `folder`, as JSON-LD.

    Args:
        folder: holds `data/*.parquet` of `sfm.data.storage.write_dataset`.
        url: where it is published.

    Raises:
        InputError: it holds no such files.
    """
    import pyarrow.parquet as pq

    from sfm.data.storage import explained

    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise InputError(f"{folder}: holds no .parquet file")
    info, columns = explained(pq.read_schema(files[0]), files[0])
    objects = [_file(path, folder) for path in files]
    source: dict[str, Any] = {"fileObject": {"@id": objects[0]["@id"]}}
    if len(objects) > 1:
        objects += _several(url)
        source = {"fileSet": {"@id": "parquet"}}
    name = str(info.get("name") or folder.name)
    citation = info.get("citation") or ()
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": str(info.get("summary") or info.get("origin") or name),
        "license": str(info.get("licence") or "unknown"),
        "citeAs": "; ".join(citation) if citation else name,
        **({"url": url} if url else {}),
        "distribution": objects,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "systems",
                "name": "systems",
                "description": "one row is one system",
                "field": [_field(column, source) for column in columns],
            }
        ],
    }


def _several(url: str) -> list[dict[str, Any]]:
    """All files of the repository as one set; a repository has no hash of its own (issue 80)."""
    repository = {
        "@type": "cr:FileObject",
        "@id": "repository",
        "name": "repository",
        "contentUrl": url or ".",
        "encodingFormat": "git+https",
        "sha256": "https://github.com/mlcommons/croissant/issues/80",
    }
    files = {
        "@type": "cr:FileSet",
        "@id": "parquet",
        "name": "parquet",
        "containedIn": {"@id": "repository"},
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }
    return [repository, files]


def _file(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _field(column: Any, source: dict[str, Any]) -> dict[str, Any]:
    about = [f"{column.role}, unit {column.unit}"]
    about += [f"level of theory {column.level}"] if column.level else []
    about += [f"shape {list(column.shape)}, flattened in C order"] if column.shape else []
    kind = "sc:Integer" if "int" in column.dtype else _TYPES.get(column.dtype, "sc:Float")
    return {
        "@type": "cr:Field",
        "@id": f"systems/{re.sub(r'[^!-~]', '_', column.name)}",  # no spaces
        "name": column.name,
        "description": "; ".join(about),
        "dataType": kind,
        **({"repeated": True} if column.shape else {}),
        "source": {**source, "extract": {"column": column.name}},
    }


def text(folder: Path, *, url: str = "") -> str:
    """The same as text of a file."""
    return json.dumps(croissant(folder, url=url), indent=2, ensure_ascii=False) + "\n"
