"""Published datasets in the libraries of others: `datasets` and `mlcroissant`."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from sfm.data.bundled import datasets_dir
from sfm.hub import push, resolve
from sfm.hub.croissant import croissant

SMALL = "g2-atomisation"  # one file
CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: full
    path: data/*.parquet
---
# sharded
"""


@pytest.fixture(params=[SMALL, "molecules-xtb"])
def folder(request, tmp_path):
    """A copy, as it would be published; the second has two files."""
    for name in ("data", "README.md"):
        source = datasets_dir() / request.param / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


# of rdflib and pandas, which mlcroissant uses
@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_croissant_is_valid_and_its_records_can_be_read(folder):
    croissants = pytest.importorskip("mlcroissant")
    from sfm.data.storage import open_dataset

    path = folder / "croissant.json"
    path.write_text(json.dumps(croissant(folder, url="https://example.org/x")))
    found = croissants.Dataset(jsonld=str(path))
    assert not found.metadata.ctx.issues.errors
    ours, files = open_dataset(folder), sorted(folder.glob("data/*"))
    fields = {field.name for field in found.metadata.record_sets[0].fields}
    assert fields == {column.name for column in ours.columns}
    hashes = {one.sha256 for one in found.metadata.distribution if hasattr(one, "sha256")}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files} <= hashes
    if len(files) == 1:  # several are read from a repository only
        first = next(iter(found.records("systems")))
        assert first["systems/id"].decode() == ours._table.column("id")[0].as_py()


def test_load_dataset_over_http(client, server, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    push(SMALL, "tester/g2", repo_type="dataset")
    assert "croissant.json" in {p.name for p in resolve("tester/g2", repo_type="dataset").iterdir()}
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    datasets.disable_progress_bars()
    found = datasets.load_dataset("tester/g2", split="full", cache_dir=str(tmp_path / "arrow"))
    from sfm.data.storage import open_dataset

    ours = open_dataset(datasets_dir() / SMALL)
    assert set(found.column_names) == {column.name for column in ours.columns}
    assert found[0]["id"] == ours._table.column("id")[0].as_py()
    assert found.num_rows == ours._table.num_rows


@pytest.mark.slow
def test_a_sharded_dataset_is_streamed_and_not_downloaded(client, server, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    from sfm.data.storage import ID, SPLIT, TYPES, Column, positions_column, write_dataset

    columns = [ID, SPLIT, TYPES, positions_column(), Column("energy", "eV", "label", "PBE")]
    rows = [
        {
            "id": f"row-{n}", "split": "train", "types[1]": np.full(9, 6),
            "positions[angstrom]": np.random.default_rng(n).normal(size=(9, 3)),
            "energy[eV]@PBE": float(n),
        }
        for n in range(400)
    ]  # fmt: skip
    folder = tmp_path / "sharded"
    info = {"name": "sharded", "domain": "molecules", "licence": "CC0-1.0"}
    paths = write_dataset(folder, columns, rows, info, max_rows_per_file=50)
    assert len(paths) == 8
    (folder / "README.md").write_text(CARD)
    push(str(folder), "tester/sharded", repo_type="dataset")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    before = len(server.requests)
    cache = tmp_path / "arrow"
    stream = datasets.load_dataset(
        "tester/sharded", split="full", streaming=True, cache_dir=str(cache)
    )
    first = [row for row, _ in zip(stream, range(60), strict=False)]
    assert [row["id"] for row in first] == [f"row-{n}" for n in range(60)]
    assert first[7]["energy[eV]@PBE"] == 7.0
    requests = [request.path for request in server.requests[before:] if request.method == "GET"]
    touched = {path.name for path in paths if any(path.name in request for request in requests)}
    assert touched == {path.name for path in paths[:2]}  # where those 60 rows lie
    assert not list(cache.rglob("*.arrow"))
