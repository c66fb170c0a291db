"""Points of a periodic line, one spacing apart: what all encoders of such fields need alike."""

from __future__ import annotations

from typing import Any

import torch

from sfm.data.neighbours import neighbour_list


def ring(n: int, cutoff: float) -> dict[str, Any]:
    """Arguments of `Tokens.make` for n points of one type along x, the last beside the first.

    Positions (n, 3), cell (3, 3), edges (2, E), shifts (E, 3) and cutoff are in spacings.
    """
    positions = torch.zeros(n, 3, dtype=torch.float64)
    positions[:, 0] = torch.arange(n)
    cell = torch.diag(torch.tensor([n, 1.0, 1.0], dtype=torch.float64))
    edges, shifts = neighbour_list(positions.numpy(), cutoff, cell.numpy(), (True, False, False))
    return {
        "positions": positions,
        "types": torch.zeros(n, dtype=torch.long),
        "edges": torch.from_numpy(edges),
        "shifts": torch.from_numpy(shifts).to(torch.float64),
        "cutoff": cutoff,
        "cell": cell,
    }
