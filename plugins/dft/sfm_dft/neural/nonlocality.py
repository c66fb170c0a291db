"""A learned functional that sees the electrons around the atoms: the trunk inside the functional.

    density on the grid -> packed into atoms -> trunk -> spread onto the grid -> bounded networks

For every density n that exchange or correlation is asked about (2 n_up, 2 n_down and the total; one
of a closed shell), n times 1, x, u and z (`features.py`) is integrated around each atom with shells
and harmonics (`atomic_functions`). These are tokens of the trunk, whose messages go between atoms
of one molecule; they have no element, only electrons. What comes out is spread as features h,
between 0 and 1, that g_x and g_c of `functional.py` read beside those of the point.

What holds whatever the weights, as for the semilocal ones: the uniform gas, spin scaling of
exchange (each spin's features come from its own doubled density), 0 <= F_x <= 1.804 at every point,
correlation between none and twice the base's, size consistency (beyond `cutoff` nothing is sent),
rotations, reflections, translations, order of the atoms. From the trunk's answer that without
messages is taken away, so atoms alone are semilocal. What no longer holds in molecules: coordinate
scaling of exchange, as shells and cutoff have lengths in bohr, and correlation's inequality for
scaling. E depends on Becke's partition of space, and so on the grid's atomic radii: it is a
functional of the density and of where the nuclei are.

References: Luise et al., Skala, arXiv:2506.14665 (2025), who pack grid features into atoms without
messages between them; Bystrom, Kozinsky, J. Chem. Theory Comput. 18, 2180 (2022), whose features
keep coordinate scaling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.trunk import Trunk, TrunkConfig
from sfm_dft.neural.atomic_functions import SHELLS, AtomicFunctions
from sfm_dft.neural.features import local_features
from sfm_dft.neural.functional import NeuralFunctional
from sfm_dft.xc.contract import Rung, XcEnergy
from sfm_dft.xc.density import GridDensity, GridPoints
from sfm_dft.xc.reduced import Gas, Reduced, Spins, reduced

SMALL = {"channels": 8, "layers": 1, "experts": 1, "radial": 4, "carried": 4}
CUTOFF = 9.0  # bohr
FEW = 0.3  # electrons: a shell with fewer hardly counts
READ = (0.3, 0.1, 0.1)  # size of the first weights by l: h then varies by about its own range


def packed_values(point: Reduced, rung: Rung) -> Float[Tensor, "R G Q"]:
    """What is integrated around atoms: n times 1, x, u and z, (R, G, Q).

    R = 1 for a closed shell; else the doubled densities of up and down, then the total.
    """

    def row(gas: Gas, spins: Spins | None) -> Tensor:
        local, _ = local_features(gas, rung, spins)
        z = torch.zeros_like(gas.n) if spins is None else spins.zeta2
        columns = torch.cat([torch.ones_like(z)[..., None], local, z[..., None]], -1)
        return torch.where(gas.counted[..., None], gas.n[..., None] * columns, 0.0)

    if point.spins is None:
        return row(point.total, None)[None]
    return torch.cat([row(point.exchange, None), row(point.total, point.spins)[None]])


def tokens(
    positions: Float[Tensor, "T 3"], system: Int[Tensor, " T"], n_systems: int, cutoff: float
) -> Tokens:
    """Tokens without features: positions (T, 3) in bohr, the system (T,) of each, ascending."""
    with torch.no_grad():
        near = torch.cdist(positions, positions) < cutoff
        near &= system[:, None] == system
        near.fill_diagonal_(False)
        receiver, sender = near.nonzero(as_tuple=True)
    blank = Tokens.make(
        positions=positions,
        types=torch.zeros_like(system),
        edges=torch.stack([sender, receiver]),
        cutoff=cutoff,
    )
    return blank.replace(
        system=system,
        cell=positions.new_zeros(n_systems, 3, 3),
        cutoff=positions.new_full((n_systems,), cutoff),
        context=system.new_zeros(n_systems),
        conditions=positions.new_zeros(n_systems, 0),
    )


def averages(packed: Float[Tensor, "T 9 KQ"]) -> Float[Tensor, "T 9 KQ"]:
    """Packed sums (T, 9, K Q) over the electrons of their shell, and n's own saturated.

    What is left says how the electrons around an atom are, hardly how many, which would tell the
    elements apart and invite learning them by heart.
    """
    parts = packed.unflatten(-1, (len(SHELLS), -1))
    electrons = parts[:, :1, :, :1] + FEW
    ratios: Tensor = (parts / electrons).flatten(2)
    return ratios


class Messages(nn.Module):
    """Packed atoms to coefficients of h: lift, trunk, read.

    Args:
        packed: Q. features: F of exchange and as many of correlation.
        trunk: sizes, as `sfm.nn.trunk.TrunkConfig` has.
        cutoff: range of messages, bohr; 0 for none. seed: of the first weights.
        lone: see what `NonlocalMetaGGA` says.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        packed: int,
        features: int,
        trunk: Mapping[str, int],
        *,
        cutoff: float,
        lone: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.cutoff, self.features, self.lone = cutoff, features, lone
        raw = packed * len(SHELLS)
        config = TrunkConfig(**trunk)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = Trunk(config, [(0, 0)]).double()
            self.lift = nn.Parameter(_matrices(raw, config.channels))
            read = _matrices(config.channels, 2 * features * len(SHELLS))
            self.read = nn.Parameter(read * torch.tensor(READ, dtype=torch.float64)[:, None, None])
        # of the packed numbers over training atoms: mean of scalars, and size of each l
        self.register_buffer("centre", torch.zeros(raw, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(3, raw, dtype=torch.float64))

    def calibrate(self, packed: Float[Tensor, "T 9 KQ"]) -> None:
        """Standardise by the packed numbers (T, 9, K Q) of many atoms."""
        parts = averages(packed.detach()).split([1, 3, 5], 1)
        self.centre.copy_(parts[0].mean((0, 1)))
        sizes = [(parts[0] - self.centre).square(), parts[1].square(), parts[2].square()]
        size = torch.stack([s.mean((0, 1)).sqrt() for s in sizes])
        # what hardly varies says hardly anything, and must not be blown up
        self.spread.copy_(torch.maximum(size, 0.02 * size.amax(1, keepdim=True)).clamp(min=1e-3))

    def forward(self, packed: Float[Tensor, "T 9 KQ"], tokens: Tokens) -> Float[Tensor, "T 9 KF"]:
        """(T, 9, K Q) to (T, 9, K 2F)."""
        scalars, vectors, tensors = averages(packed).split([1, 3, 5], 1)
        a = ((scalars[:, 0] - self.centre) / self.spread[0]) @ self.lift[0]
        b = (vectors / self.spread[1]) @ self.lift[1]
        c = (tensors / self.spread[2]) @ self.lift[2]
        lifted = tokens.replace(scalars=a, vectors=b, tensors=c)
        out = self._said(lifted)
        if self.lone:
            return out
        silent = lifted.replace(edges=tokens.edges[:, :0], shifts=tokens.shifts[:0])
        return out - self._said(silent)

    def _said(self, tokens: Tokens) -> Tensor:
        out = self.trunk(tokens)
        rows = (out.scalars[:, None], out.vectors, out.tensors)
        return torch.cat([x @ w for x, w in zip(rows, self.read, strict=True)], 1)

    def adopt(self, model: FoundationModel, part: str, level: str) -> None:
        """Take the trunk of a joint model as it is for one encoder and level.

        Raises:
            InputError: the sizes differ.
        """
        index = model.context(part, level)
        trunk = model.trunk.collapsed(index).double()
        if trunk.config != self.trunk.config:
            raise InputError(
                f"the trunk of '{model.config.name}' is {trunk.config}, this functional's is "
                f"{self.trunk.config}: make it with trunk={{...}} of the same sizes"
            )
        state = trunk.state_dict()
        before = self.trunk.state_dict()
        for name in before:
            if name in ("context_scalars.weight", "neighbours", "contexts"):
                state[name] = state[name][index : index + 1]
            elif name.startswith("router."):
                state[name] = before[name]
        state["contexts"] = before["contexts"]
        self.trunk.load_state_dict(state)


def _matrices(rows: int, columns: int) -> Tensor:
    """(3, rows, columns), one for each l."""
    return torch.randn(3, rows, columns, dtype=torch.float64) / math.sqrt(rows)


class NonlocalMetaGGA(NeuralFunctional):
    """Learned enhancement of r2SCAN that also sees the electrons around the atoms.

    Args:
        features: h for exchange and as many for correlation. trunk: its sizes.
        cutoff: range of messages between atoms, bohr; 0: an atom sees its own electrons only.
        lone: h is all that comes out of the trunk; otherwise less what comes out when no messages
            are sent, so that an atom alone has the semilocal energy.
        blind: h is zero: the semilocal control with the same networks.
        options: those of `NeuralFunctional`.
    """

    rung: Rung = "mgga"
    default_base = "r2SCAN"
    pointwise = False
    citations: ClassVar[tuple[str, ...]] = ("Luise et al., arXiv:2506.14665 (2025)",)

    def __init__(
        self,
        *,
        features: int = 2,
        trunk: Mapping[str, int] | None = None,
        cutoff: float = CUTOFF,
        lone: bool = False,
        blind: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(extra=features, **options)
        trunk = dict(SMALL if trunk is None else trunk)
        if not 0.0 <= cutoff <= 100.0:
            raise InputError(f"cutoff={cutoff}: a range of messages is from 0 to 100 bohr")
        chosen = {
            "features": features,
            "trunk": trunk,
            "cutoff": cutoff,
            "lone": lone,
            "blind": blind,
        }
        self.options |= chosen
        self.blind = blind
        packed = {"gga": 3, "mgga": 4}[self.rung]
        seed = self.options["seed"]
        self.messages = Messages(packed, features, trunk, cutoff=cutoff, lone=lone, seed=seed)

    def features(
        self, point: Reduced, place: GridPoints | None
    ) -> tuple[Float[Tensor, "*s G F"], Float[Tensor, "G F"]]:
        """h of exchange (2, G, F), (G, F) for a closed shell, and of correlation (G, F)."""
        shape, count = point.exchange.n.shape, self.messages.features
        if self.blind:
            half = point.total.n.new_full((1,), 0.5)
            return half.expand(*shape, count), half.expand(*point.total.n.shape, count)
        if place is None:
            raise InputError(
                f"{type(self).__name__} looks further than one point: give the density its "
                "`grid` (GridPoints), as dft/kohn-sham does"
            )
        values = packed_values(point, self.rung)
        around = AtomicFunctions.of(place.points, place.owners, place.positions)
        rows, atoms = len(values), len(place.positions)
        packed = around.gather(place.weights[:, None] * values)
        molecules = int(place.molecule.max()) + 1
        shifts = molecules * torch.arange(rows, device=place.molecule.device)
        system = (place.molecule + shifts[:, None]).flatten()
        blank = tokens(
            place.positions.repeat(rows, 1), system, rows * molecules, self.messages.cutoff
        )
        coefficients = self.messages(packed.flatten(0, 1), blank).unflatten(0, (rows, atoms))
        spread = around.spread(coefficients)
        h = squashed(spread)
        exchange = h[0] if rows == 1 else h[:2]
        return exchange[..., :count], h[-1, :, count:]

    def forward(self, density: GridDensity) -> XcEnergy:
        point = reduced(density, self.rung)
        for_exchange, for_correlation = self.features(point, density.grid)
        energy, enhancement, columns, departure = self.exchange_parts(point)
        columns = torch.cat([columns, for_exchange], -1)
        exchange = energy * self.exchange_boost(enhancement, columns, departure)
        if not density.closed_shell:
            exchange = 0.5 * exchange.sum(0)
        energy, columns, departure = self.correlation_parts(point)
        columns = torch.cat([columns, for_correlation], -1)
        correlation = energy * self.correlation_boost(columns, departure)
        return XcEnergy((1.0 - self.exact_exchange) * exchange, correlation)


def squashed(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Any number to between 0 and 1, zero to 1/2; of any shape."""
    return torch.sigmoid(2.0 * values)


class NonlocalGGA(NonlocalMetaGGA):
    """The same on PBE, without the kinetic energy density."""

    rung: Rung = "gga"
    default_base = "PBE"
