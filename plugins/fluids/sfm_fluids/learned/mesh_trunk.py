"""The shared trunk in the place of the graph network that corrects a coarse mesh.

What the triangles hold of a medium goes to their corners as means; the trunk reads the corners as
tokens (`fluids/mesh`), and what it says of a triangle's three corners, with the triangle's own
facts, gives the correction of `sfm_fluids.learned.mesh_correction`. So it turns with the mesh and
does not know its size, and a pretrained trunk can be put in.

The ansatz is this plugin's own, without a source. Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model import FoundationModel
from sfm.quantity import Quantity
from sfm_fluids.elements.mesh import mean_at_points
from sfm_fluids.learned.mesh_correction import FACTS, Correction, Medium
from sfm_fluids.quantities import MESH_SOLUTION

PART, LEVEL = "fluids/mesh", "mesh correction"


SMALL = {"channels": 16, "layers": 2, "radial": 6, "carried": 4}


def small_model(
    quantity: Quantity = MESH_SOLUTION,
    level: str = LEVEL,
    *,
    trunk: Mapping[str, int] = SMALL,
    along: str = "edges",
    seed: int = 0,
) -> FoundationModel:
    """A model of its own that reads meshes and says one quantity.

    Args:
        quantity: with a head in this plugin. level: its only one.
        trunk: channels, layers, radial and carried numbers of a dense trunk.
        along: of the encoder. seed: of the weights.
    """
    config = ModelConfig(
        trunk={"experts": 1, **trunk},
        encoders={PART: {"along": along}},
        encoder_domains={PART: "fluids"},
        heads=(HeadSpec(PART, quantity.name, f"fluids/{quantity.name}"),),
        targets=(Target(PART, level, quantity.name),),
        contexts=((PART, level),),
        quantities={quantity.name: quantity},
        plugins={},
        name="mesh",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FoundationModel(config)
    model.trunk.neighbours.fill_(6.0)  # edges of a point
    return model


class TrunkCorrection(Correction):
    """The correction of a trunk.

    Args:
        model: its trunk and its encoder `fluids/mesh`; a small one with random weights if None.
        level: of theory, whose context the trunk is asked in; the model's only one if None.
        seed: of the weights.
    """

    def __init__(
        self, model: FoundationModel | None = None, *, level: str | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.model = small_model(seed=seed) if model is None else model
        self.context = self.model.context(PART, self.model.level(PART, level))
        channels = self.model.trunk.config.channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            first, last = nn.Linear(channels + FACTS, channels), nn.Linear(channels, 1)
            self.out = nn.Sequential(first, nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # media are kept while somebody holds them
        self._tokens: WeakKeyDictionary[Medium, Tokens] = WeakKeyDictionary()

    def unbounded(self, medium: Medium) -> Float[Tensor, " m"]:
        if medium not in self._tokens:
            self._tokens[medium] = self._read(medium)
        features = self.model.features({PART: self._tokens[medium]})[PART].scalars
        corners = features[medium.mesh.triangles].mean(1)
        correction: Tensor = self.out(torch.cat((corners, medium.facts.to(corners)), 1))[:, 0]
        return correction

    def _read(self, medium: Medium) -> Tokens:
        mesh, n = medium.mesh, len(medium.mesh.points)
        contrast = medium.log_mean - medium.log_mean.mean()
        facts = torch.cat((contrast[:, None], medium.facts[:, :3]), 1)
        moment = mean_at_points(medium.moment, mesh.triangles, n)
        fields = {
            "mesh_points": mesh.points.numpy(),
            "mesh_triangles": mesh.triangles.numpy(),
            "mesh_scalars": mean_at_points(facts, mesh.triangles, n).numpy(),
            "mesh_vectors": moment[:, :, None].numpy(),
        }
        tokens = self.model.encoder(PART).tokenize(
            Sample(id="coarse mesh", domain="fluids", fields=fields)
        )
        tokens = tokens.to(self.model.device, self.model.dtype)
        return tokens.replace(context=torch.full_like(tokens.context, self.context))
