"""Labels by MEGNet 1.3.2: band gaps and elastic moduli as its published models give them.

These labels are distilled: they carry MEGNet's errors, and nothing was computed or measured for
them. The weights travel in the package's source archive, `mvl_models/`. The script half of this
module needs neither sfm nor this plugin, so that it can run in an environment of its own:

    python megnet.py INPUT.jsonl OUTPUT.jsonl MVL_MODELS

The gap of PBE is that of `mp-2018.6.1/band_gap_regression` (Chen, Ye, Zuo, Zheng, Ong, Chem. Mater.
31, 3564 (2019)), those of HSE and of experiments the mean of six multi-fidelity models (Chen, Zuo,
Ye, Li, Ong, Nat. Comput. Sci. 1, 46 (2021)), moduli those of `mp-2019.4.1`.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

PACKAGE, VERSION = "megnet", "1.3.2"
SHA256 = "0c2de597860fa3caeefc3591f01fe48e8cc70adbda812f5b72a47c3eb6361a99"
REQUIRES = (f"{PACKAGE}=={VERSION}", "tensorflow-cpu==2.15.1", "'numpy<2'", "'pymatgen<2024.9'")
MODELS = "mvl_models"
SINGLE = {
    "gap_pbe": "mp-2018.6.1/band_gap_regression",
    "log_bulk_modulus": "mp-2019.4.1/log10K",
    "log_shear_modulus": "mp-2019.4.1/log10G",
}
FIDELITIES = {"gap_hse": 2, "gap_experiment": 3}  # states of the multi-fidelity models
MEMBERS = 6
BATCH = 128


def label(source: Path, target: Path, models: Path) -> None:
    """Label the crystals of `source`, appending to `target`.

    A line holds `id`, `types`, `positions` and `cell` (angstrom) and `fidelities`, whether the gaps
    of HSE and experiments are wanted; the answer holds `id`, gaps in eV and logarithms of moduli in
    GPa. A quantity is missing where the crystal has an atom without neighbours.
    """
    os.environ.update({"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"})
    import numpy as np
    import tensorflow
    from megnet.models import MEGNetModel
    from pymatgen.core import Lattice, Structure

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    single = {name: MEGNetModel.from_file(f"{models / path}.hdf5") for name, path in SINGLE.items()}
    ensemble = models / "mf_2020" / "pbe_gllb_hse_exp"
    members = [
        MEGNetModel.from_file(str(ensemble / str(number) / "best_model.hdf5"))
        for number in range(MEMBERS)
    ]

    def predict(
        networks: list[Any], crystals: dict[str, Any], state: list[Any]
    ) -> dict[str, float]:
        graphs = {}
        for name, crystal in crystals.items():
            crystal.state = state
            try:
                graphs[name] = networks[0].graph_converter.convert(crystal)
            except RuntimeError:  # "Isolated atoms found in the structure"
                continue
        if not graphs:
            return {}
        values = [n.predict_graphs([*graphs.values()], batch_size=BATCH) for n in networks]
        return dict(zip(graphs, np.mean(values, axis=0).ravel().tolist(), strict=True))

    tasks = [json.loads(line) for line in source.read_text().splitlines()]
    with target.open("a") as sink:
        for begin in range(0, len(tasks), BATCH):
            batch = tasks[begin : begin + BATCH]
            crystals = {
                task["id"]: Structure(
                    Lattice(task["cell"]),
                    task["types"],
                    task["positions"],
                    coords_are_cartesian=True,
                )
                for task in batch
            }
            real = {task["id"]: crystals[task["id"]] for task in batch if task["fidelities"]}
            answers = {n: predict([m], crystals, [[0.0, 0.0]]) for n, m in single.items()}
            answers |= {n: predict(members, real, [state]) for n, state in FIDELITIES.items()}
            for name in crystals:
                row = {q: values[name] for q, values in answers.items() if name in values}
                sink.write(json.dumps({"id": name, **row}) + "\n")
            sink.flush()
            print(f"{begin + len(batch)}/{len(tasks)} labelled", flush=True)


def weights(folder: Path) -> Path:
    """The folder of the published models, out of the source archive, below `folder`.

    Raises:
        InputError: the archive cannot be had.
    """
    from sfm.data.sources import fetch

    archive = fetch(PACKAGE, VERSION, SHA256, options=("--no-binary", ":all:"))
    inside = f"{PACKAGE}-{VERSION}/{MODELS}"
    with tarfile.open(archive) as members:
        chosen = [m for m in members if m.name.startswith(inside)]
        members.extractall(folder, chosen, filter="data")
    return folder / inside


if __name__ == "__main__":
    label(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
