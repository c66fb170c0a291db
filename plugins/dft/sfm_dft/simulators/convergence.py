"""What the user should know of how a self-consistent field ended, in one line."""

from __future__ import annotations

from sfm_dft.simulators.kohn_sham_settings import KohnShamSettings
from sfm_dft.simulators.kohn_sham_state import KohnShamState

ALIKE = 1e-6  # of density matrices: orbitals that differ by less are the same


def failure(simulator: KohnShamSettings, state: KohnShamState) -> str:
    """Why a state is not self-consistent, and what has not been tried yet."""
    part, scf = simulator.part, state.scf
    open_ = (~scf.converged).nonzero()[:, 0].tolist()
    which = f" ({len(open_)} of {len(state.system)} molecules)" if state.batched else ""
    lost = (scf.cycles > 0) & ~scf.residual.isfinite()
    if lost.any():
        number = int(lost.nonzero()[0, 0]) + 1
        return (
            f"{part}: the energy of molecule {number} is not finite{which}; look at its "
            "geometry, the parameters and the closure"
        )
    return (
        f"{part}: not self-consistent after {int(scf.cycles.max())} cycles{which} "
        f"(residual {float(scf.residual.detach().max()):.1e} hartree, wanted "
        f"{simulator.tolerance:.1e}); try {_advice(simulator, state)}"
    )


def _advice(simulator: KohnShamSettings, state: KohnShamState) -> str:
    if state.system.spins == 1:
        return (
            "level_shift=0.3 or more max_cycles; for a stretched bond spin=unrestricted "
            "stability=True"
        )
    more = f"max_cycles={2 * simulator.max_cycles}"
    if simulator.stability:
        return f"{more}, or smearing=0.005 in place of stability"
    return more if simulator.smearing > 0.0 else f"stability=True or {more}"


def alike(simulator: KohnShamSettings, state: KohnShamState) -> tuple[str, ...]:
    """A warning where spins that might differ have never been let apart."""
    if state.system.spins == 1 or simulator.stability or simulator.smearing > 0.0:
        return ()
    up, down = state.scf.density_matrix.unbind(1)
    if not bool(((up - down).abs().flatten(1).amax(1) < ALIKE).any()):
        return ()
    return (
        f"{simulator.part}: up and down started alike and stayed so; stability=True sees whether "
        "they want to differ, as in a stretched bond",
    )
