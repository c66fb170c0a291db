"""Makes the museum's checkpoint of the present format: `python tests/museum/make.py`.

Run once per format, when it is released, and never again: old checkpoints must keep loading.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sfm.config import FORMAT, HeadSpec, ModelConfig, Target
from sfm.config.coverage import Coverage
from sfm.model import FoundationModel
from sfm.quantity import CORE

ENCODER, LEVEL = "molecules/atoms", "GFN2-xTB"


def main() -> None:
    folder = Path(__file__).parent / f"format-{FORMAT}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FoundationModel(
            ModelConfig(
                trunk={"channels": 8, "layers": 1, "experts": 2, "radial": 4, "carried": 2},
                encoders={ENCODER: {"cutoff": 4.0}},
                encoder_domains={ENCODER: "molecules"},
                heads=(HeadSpec(ENCODER, "energy", ENCODER.replace("atoms", "energy")),),
                targets=(Target(ENCODER, LEVEL, "energy"), Target(ENCODER, LEVEL, "forces")),
                contexts=((ENCODER, LEVEL),),
                quantities={q.name: q for q in CORE},
                plugins={},
                name=f"museum-{FORMAT}",
                repulsion="zbl",
                coverage=(Coverage(ENCODER, LEVEL, 1, ("H", "O"), spins=(0.0,)),),
            )
        )
    model.save_pretrained(folder)
    said = model.predict(Path(__file__).parents[2] / "docs" / "examples" / "water.xyz")
    record = {"energy": float(said["energy"]), "forces": said["forces"].tolist()}
    (folder / "said.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
