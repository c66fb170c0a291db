"""Published datasets in the libraries of others: `datasets` and `mlcroissant`."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from sfm.data.bundled import datasets_dir
from sfm.errors import InputError
from sfm.hub import push, resolve
from sfm.hub.croissant import croissant
from sfm.hub.dataset_card import published_card

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
    dataset = croissants.Dataset(jsonld=str(path))
    assert not dataset.metadata.ctx.issues.errors
    ours, files = open_dataset(folder), sorted(folder.glob("data/*"))
    fields = {field.name for field in dataset.metadata.record_sets[0].fields}
    assert fields == {column.name for column in ours.columns}
    hashes = {one.sha256 for one in dataset.metadata.distribution if hasattr(one, "sha256")}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files} <= hashes
    if len(files) == 1:  # several are read from a repository only
        first = next(iter(dataset.records("systems")))
        assert first["systems/id"].decode() == ours._table.column("id")[0].as_py()


def test_load_dataset_over_http(client, server, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    push(SMALL, "tester/g2", repo_type="dataset")
    assert "croissant.json" in {p.name for p in resolve("tester/g2", repo_type="dataset").iterdir()}
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("tester/g2", split="full", cache_dir=str(tmp_path / "arrow"))
    from sfm.data.storage import open_dataset

    ours = open_dataset(datasets_dir() / SMALL)
    assert set(loaded.column_names) == {column.name for column in ours.columns}
    assert loaded[0]["id"] == ours._table.column("id")[0].as_py()
    assert loaded.num_rows == ours._table.num_rows


@pytest.fixture
def mine(tmp_path):
    """A user's dataset: a file, converted."""
    from sfm.data.bundled import example
    from sfm.data.convert import read_items, with_level, write_items

    folder = tmp_path / "mine"
    path = str(example("paracetamol.extxyz"))
    write_items(folder, with_level(read_items(path), "GFN2-xTB", path))
    return folder


MINE = "---\nlicense: mit\ntags: [mine]\n---\n# My molecules\n\nBy me.\n"


@pytest.mark.parametrize("card", [None, MINE], ids=["no card", "no configs"])
def test_a_dataset_of_a_user_loads_without_arguments(
    card, client, server, mine, tmp_path, monkeypatch
):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    datasets.disable_progress_bars()
    if card is not None:
        (mine / "README.md").write_text(card)
    push(str(mine), "tester/mine", repo_type="dataset")
    loaded = datasets.load_dataset("tester/mine", cache_dir=str(tmp_path / "arrow"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"full": 60}
    assert "energy[eV]@GFN2-xTB" in loaded["full"].column_names
    published = DatasetCard.load("tester/mine")
    assert published.data.configs[0]["data_files"][0]["path"] == "data/*.parquet"
    if card is not None:
        assert published.data.license == "mit"
        assert "By me." in published.content
        assert (mine / "README.md").read_text() == card  # theirs stays as it is


def test_a_card_that_is_none_is_refused_and_one_with_configs_left(client, mine):
    (mine / "README.md").write_text("---\nlicense: [mit\n---\n# x\n")
    with pytest.raises(InputError, match=r"README.md: its head cannot be read: .*flow sequence"):
        push(str(mine), "tester/mine", repo_type="dataset")
    (mine / "README.md").write_text(CARD + "<!-- as it was -->\n")
    assert published_card(mine) == CARD + "<!-- as it was -->\n"


def test_a_card_is_made_from_what_the_files_say(mine):
    card = DatasetCard(published_card(mine))
    assert card.data.tags == ["sfm", "molecules", "energy", "forces"]
    assert "| energy[eV]@GFN2-xTB | eV | GFN2-xTB |" in card.content
    assert "| train | 48 |" in card.content


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
