"""Cards are read back with huggingface_hub's own parser; references with a BibTeX-shaped check."""

from __future__ import annotations

import itertools
import re

import huggingface_hub
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from sfm.data.spec import DatasetSpec
from sfm.errors import InputError
from sfm.hub import dataset_card, model_card, references, write_model_card

REPORT = {
    "name": "sfm-tiny",
    "summary": "One model for four domains.",
    "licence": "Apache-2.0",
    "base_model": "tester/base",
    "encoders": [{"part": "molecules/atoms", "domain": "molecules", "cutoff": 5.0}],
    "heads": [{"quantity": "energy", "unit": "eV", "levels": ["GFN2-xTB"], "domain": "molecules"}],
    "data": [
        {"name": "molecules-xtb", "repo": "sfm/molecules-xtb", "licence": "CC0-1.0",
         "levels": ["GFN2-xTB"], "samples": 10000, "origin": "rdkit and tblite"},
    ],
    "metrics": [
        {"dataset": "molecules-xtb", "split": "test", "level": "GFN2-xTB", "quantity": "energy",
         "metric": "mae", "unit": "eV", "value": 0.123456, "std": 0.01, "seeds": 3,
         "baselines": {"mean predictor": 2.5, "trained alone": 0.15}},
    ],
    "cost": {"parameters": 512345, "device": "2 CPU cores", "wall_time": "5 min"},
    "recipe": {"model": {"size": "tiny"}, "steps": 1000},
    "limits": ["Neutral molecules | up to 20 atoms."],
    "citations": ["doi:10.1021/acs.jctc.8b01176"],
}  # fmt: skip


def test_model_card_head_and_text():
    card = ModelCard(model_card(REPORT))
    data = card.data
    assert (data.license, data.library_name, data.base_model) == (
        "apache-2.0",
        "sfm",
        "tester/base",
    )
    assert (data.pipeline_tag, data.base_model_relation) == ("graph-ml", "finetune")
    assert data.tags == ["sfm", "molecules", "energy"]
    assert data.datasets == ["sfm/molecules-xtb"]
    assert data.metrics == ["mae"]
    result = data.eval_results[0]
    assert result.metric_value == pytest.approx(0.123456)
    assert result.metric_name == "mae of energy (eV)"
    assert result.metric_args["baselines"]["mean predictor"] == 2.5
    for words in (
        "# sfm-tiny",
        "| 0.123 ± 0.01 | 2.5 | 0.15 | 3 |",
        "CC0-1.0",
        'sfm.load("sfm-tiny")',
        "512345",
        "Neutral molecules | up to 20 atoms.",
        "10.1021/acs.jctc.8b01176",
        "size: tiny",
    ):
        assert words in card.content, words


def test_every_table_row_has_as_many_cells_as_its_head():
    lines = model_card(REPORT).splitlines()
    for first, second in itertools.pairwise(lines):
        if first.startswith("|") and second.startswith("|"):
            cells = [len(re.findall(r"(?<!\\)\|", line)) for line in (first, second)]
            assert cells[0] == cells[1], (first, second)


def test_a_minimal_report_makes_a_valid_card():
    card = ModelCard(model_card({"name": "x"}))
    assert card.data.license == "unknown"
    assert card.data.eval_results is None
    assert "## Errors" not in card.content
    with pytest.raises(InputError, match="needs the model's name"):
        model_card({})
    with pytest.raises(InputError, match="must be a list of dicts"):
        model_card({"name": "x", "metrics": {"mae": 1.0}})


@pytest.mark.parametrize("name", [None, "", "/home/me/model", "../model", "runs/a/b", ".."])
def test_a_folder_is_no_base_for_others(name):
    data = ModelCard(model_card({"name": "x", "base_model": name})).data
    assert data.base_model is None
    assert "base_model_relation" not in data.to_dict()


def test_unknown_licence_is_named():
    head = yaml.safe_load(model_card({"name": "x", "licence": "ASL"}).split("---")[1])
    assert (head["license"], head["license_name"]) == ("other", "ASL")


def test_write_model_card(model_folder):
    path = write_model_card(model_folder, REPORT)
    assert ModelCard.load(path).data.license == "apache-2.0"
    assert "acs.jctc.8b01176" in (model_folder / "references.bib").read_text()
    write_model_card(model_folder)
    text = path.read_text()
    assert "# tiny" in text
    assert "license: apache-2.0" in text, "from training.json"
    assert "| energy | eV | system | molecules | GFN2-xTB |" in text, "from config.json"


def test_dataset_card():
    spec = DatasetSpec(
        name="waves",
        domain="fluids",
        summary="Filtered turbulence.",
        quantities=("velocity",),
        levels=("DNS",),
        licence="CC-BY-4.0",
        origin="our own simulation",
        citation=("@article{k41, title = {Turbulence}}",),
    )
    statistics = {
        "splits": {"train": 8000, "test": 2000},
        "columns": [{"name": "velocity[1]", "unit": "1", "level": "DNS"}],
        "made": "With `build.py --seed 0`.",
        "limits": ["Two dimensions."],
    }
    card = DatasetCard(dataset_card(spec, statistics))
    assert card.data.license == "cc-by-4.0"
    assert card.data.size_categories == ["10K<n<100K"]
    assert card.data.tags == ["sfm", "fluids", "velocity"]
    for words in (
        "| train | 8000 |",
        "velocity[1]",
        "our own simulation",
        "@article{k41",
        "Two dim",
    ):
        assert words in card.content, words


def test_references():
    entry = "@article{a2020,\n  title = {One}\n}"
    text = references(
        [
            entry,
            entry,
            "@article{a2020,\n  title = {Another}\n}",
            "Kohn and Sham, Phys. Rev. 140, A1133. doi:10.1103/PhysRev.140.A1133",
            "https://doi.org/10.1006/jcph.2002.6995",
            "https://example.org/data",
            "Unpublished {note}",
        ]
    )
    keys = re.findall(r"@\w+\{([^,]+),", text)
    assert len(keys) == len(set(keys)) == 6
    assert text.count("{") == text.count("}")
    assert "doi = {10.1103/PhysRev.140.A1133}" in text
    assert "note = {Kohn and Sham, Phys. Rev. 140, A1133}" in text
    assert "url = {https://example.org/data}" in text
    assert references([]) == ""


def test_a_model_links_the_repositories_of_its_data(client, server, capsys):
    from sfm.cli import main
    from sfm.hub.links import RESULTS

    link = "molecules/molecules-xtb=tester/molecules-xtb"
    assert main(["push", "sfm-tiny", "tester/tiny", "--link", link]) == 0
    card = ModelCard.load("tester/tiny")
    assert card.data.datasets == ["tester/molecules-xtb"]
    types = {r.dataset_name: r.dataset_type for r in card.data.eval_results}
    assert types["molecules/molecules-xtb"] == "tester/molecules-xtb"
    assert types["dft/dft-small"] == "dft/dft-small"  # nobody said where
    path = huggingface_hub.hf_hub_download("tester/tiny", RESULTS)
    with open(path, encoding="utf-8") as file:
        rows = yaml.safe_load(file)
    assert {row["dataset"]["id"] for row in rows} == {"tester/molecules-xtb"}
    (energy,) = [r for r in rows if r["dataset"]["task_id"] == "energy.mae@GFN2-xTB"]
    (expected,) = [
        r.metric_value
        for r in card.data.eval_results
        if r.dataset_name == "molecules/molecules-xtb"
        and r.metric_name.startswith("mae of energy ")
    ]
    assert energy["value"] == expected
    assert energy["notes"].startswith("mae in eV/atom; split test; ")
    if hasattr(huggingface_hub, "parse_eval_result_entries"):  # newer than the lowest allowed one
        entries = huggingface_hub.parse_eval_result_entries(rows)
        assert huggingface_hub.eval_result_entries_to_yaml(entries) == rows
    capsys.readouterr()
    for word, said in (
        ("molecules/molecules-xtp=a/b", "Did you mean 'molecules/molecules-xtb'?"),
        ("molecules/molecules-xtb=a", "write it as 'owner/name'"),
        ("molecules/molecules-xtb", "write DATASET=REPO"),
    ):
        assert main(["push", "sfm-tiny", "tester/tiny", "--link", word]) == 2
        assert said in capsys.readouterr().err
        assert main(["push", "sfm-tiny", "tester/never", "--link", word]) == 2
        assert said in capsys.readouterr().err
    there = huggingface_hub.HfApi(endpoint=server.url).repo_exists
    assert there("tester/tiny")
    assert not there("tester/never")  # no empty one is left behind
    assert main(["push", "g2-atomisation", "tester/g2", "--dataset", "--link", link]) == 2
