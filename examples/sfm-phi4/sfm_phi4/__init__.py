"""Lattice phi^4 theory in two dimensions: a complete plugin outside of sfm. Nothing heavy here.

Modules, lowest first: `quantities`; `theory` (action and its derivative); `sampling` (hybrid Monte
Carlo, the simulator); `flow` (an equivariant flow to the same distribution); `data`; `model`.
"""

from __future__ import annotations

from sfm.plugin import Plugin
from sfm_phi4.quantities import ALL

plugin = Plugin(
    name="phi4",
    domain="lattice-fields",
    summary="two-dimensional lattice phi^4 theory: ensembles, hybrid Monte Carlo, a flow",
    datasets={"ensembles": "sfm_phi4.data:ENSEMBLES"},
    simulators={"hybrid-monte-carlo": "sfm_phi4.sampling:HybridMonteCarlo"},
    encoders={"sites": "sfm_phi4.model:SiteEncoder"},
    heads={"phi4_action": "sfm.nn.head:ScalarSum", "phi4_drift": "sfm.nn.head:TokenScalar"},
    quantities=ALL,
    citations=("doi:10.1016/0370-2693(87)91197-X", "arXiv:2207.00283"),
)
