"""i-PI's protocol: a model answers the engine that moves the atoms.

i-PI, ASE's `SocketIOCalculator` and others that drive dynamics listen at a socket; what gives the
forces connects to it (Litman et al., J. Chem. Phys. 161, 062504 (2024)). Positions and cells
come in bohr, energies, forces and virials (hartree) go back; ASE's `IPIProtocol` is the wire. The
protocol names no elements: those, charge, spin and boundaries are those of a sample.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError, PluginError, RunError

if TYPE_CHECKING:
    from sfm.model.potential import Potential

LOCAL = "127.0.0.1"
UNIX_FOLDER = "/tmp/ipi_"  # what i-PI and ASE put before a name
PAUSE = 0.2  # s between two looks for an engine


@dataclass(frozen=True)
class Address:
    """Where an engine listens: an inet socket, or a unix socket if there is a `path`.

    Attributes:
        host, port: of an inet socket. path: of a unix socket.
    """

    host: str = LOCAL
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """`31415` (this machine), `host:31415`, `unix:name` (i-PI's `/tmp/ipi_name`) or a path.

        Raises:
            InputError: it is none of these.
        """
        if text.startswith("unix:") and text != "unix:":
            return cls(path=UNIX_FOLDER + text.removeprefix("unix:"))
        if text.startswith("/"):
            return cls(path=text)
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise InputError(
                f"--socket {text}: is no address; say 31415, HOST:31415, unix:NAME or /a/path"
            )
        return cls(host=host.strip("[]") or LOCAL, port=int(port))

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def connect(self, wait: float) -> socket.socket:
        """An open connection, for which an engine is awaited `wait` seconds.

        Raises:
            InputError: nobody listens there.
        """
        end = time.monotonic() + wait
        while True:
            try:
                if self.path:
                    connection = socket.socket(socket.AF_UNIX)
                    try:
                        connection.connect(self.path)
                    except BaseException:
                        connection.close()
                        raise
                    return connection
                connection = socket.create_connection((self.host, self.port), timeout=10)
                connection.settimeout(None)  # an engine may think as long as it likes
                return connection
            except OSError as error:
                if time.monotonic() > end:
                    raise InputError(
                        f"--socket {self}: no engine listens there ({error.strerror or error}); "
                        "start it first"
                    ) from None
            time.sleep(PAUSE)


def answer(connection: socket.socket, potential: Potential, sample: Sample) -> int:
    """Answer until the engine ends or leaves; the number of answers.

    Virials are `-volume * stress`; zero where the sample is not periodic in three directions.

    Args:
        connection: to the engine.
        potential: gives energies, forces and stress.
        sample: elements, boundaries, charge and spin, in the engine's order of atoms.

    Raises:
        InputError: the engine has another number of atoms.
        OutsideError: it came where the model was not trained.
        RunError: it speaks another language, or the connection broke.
        PluginError: ASE is not installed.
    """
    try:
        from ase.calculators.socketio import IPIProtocol, SocketClosed
    except ModuleNotFoundError:
        raise PluginError(
            "--socket needs ASE; install it with: pip install 'sfm-hub[molecules]'"
        ) from None
    wire: Any = IPIProtocol(connection)
    ready: tuple[float, np.ndarray, np.ndarray] | None = None
    count = 0
    try:
        while True:
            try:
                message = wire.recvmsg()
            except SocketClosed:
                return count
            if message == "EXIT":
                return count
            if message == "STATUS":
                wire.sendmsg("HAVEDATA" if ready else "READY")
            elif message == "POSDATA":
                ready = _values(potential, _moved(wire, sample))
            elif message == "GETFORCE" and ready:
                wire.sendforce(*ready)
                ready, count = None, count + 1
            else:
                raise RunError(f"the engine said {message!r}, which i-PI's protocol has not here")
    except (AssertionError, UnicodeDecodeError) as error:
        raise RunError(f"the engine does not speak i-PI's protocol ({error})") from None
    except OSError as error:
        raise RunError(f"the connection broke after {count} answers ({error})") from None


def _moved(wire: Any, sample: Sample) -> Sample:
    """The sample where the engine has its atoms now, in angstrom."""
    from ase.units import Bohr

    cell = wire.recv((3, 3), np.float64).T * Bohr
    wire.recv((3, 3), np.float64)  # the inverse cell
    count = int(wire.recv(1, np.int32)[0])
    if count != len(sample.types):
        raise InputError(
            f"the engine moves {count} atoms, and {sample.id} has {len(sample.types)}: "
            "both need the same system, in the same order"
        )
    positions = wire.recv((count, 3), np.float64) * Bohr
    return sample.replace(
        positions=positions, cell=np.ascontiguousarray(cell) if sample.pbc.any() else None
    )


def _values(potential: Potential, sample: Sample) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (n, 3) (eV/angstrom) and virial (3, 3) (eV)."""
    names = ["energy", "forces", *(["stress"] if sample.pbc.all() else [])]
    values = {
        name: value.double().cpu().numpy()
        for name, value in potential([sample], names).values.items()
    }
    virial = np.zeros((3, 3))
    if "stress" in values and sample.cell is not None:
        virial = -abs(np.linalg.det(sample.cell)) * values["stress"][0]
    return float(values["energy"][0]), values["forces"], virial
