"""`sfm serve [MODEL ...]`: the hub as a local page, or with `--socket` a model for an engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sfm.serve import engine

LOCAL = ("127.0.0.1", "localhost", "::1")
PORT = 8321


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm serve`."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="models to try (default: sfm-tiny)"
    )
    parser.add_argument(
        "--host", metavar="HOST", help=f"address to listen at (default: {LOCAL[0]})"
    )
    parser.add_argument("--port", type=int, metavar="PORT", help=f"0: any (default: {PORT})")
    parser.add_argument(
        "--token", help="what a browser has to know; made up where --host is not this machine"
    )
    parser.add_argument(
        "--public", action="store_true", help="answer everybody, without a token: for a Space"
    )
    parser.add_argument(
        "--export-space",
        type=Path,
        metavar="DIR",
        help="write a Hugging Face Space that runs this page, and leave",
    )
    parser.add_argument(
        "--watch",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="show the training runs in this folder, while they go and after; may be repeated",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="longest simulation (default: 300)"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="simulations at a time (default: 2)")
    engine.configure(parser)
    parser.epilog = (
        "example: sfm serve, then open the address that it prints; Ctrl-C ends it; "
        "sfm serve sfm-tiny --socket unix:water --input water.xyz answers i-PI"
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import secrets
    from dataclasses import replace

    from sfm.cli.output import emit
    from sfm.errors import InputError, PluginError
    from sfm.serve.limits import Limits

    _refuse_mixed(arguments)
    if arguments.socket is not None:
        return engine.run(arguments)
    if arguments.export_space is not None:
        from sfm.serve.space import export

        emit(str(export(arguments.models or ["sfm-tiny"], arguments.export_space)))
        return 0
    if arguments.public and arguments.token is not None:
        raise InputError("--public answers everybody: it takes no --token")
    try:
        import uvicorn

        from sfm.serve.app import create_app
    except ModuleNotFoundError as error:
        raise PluginError(
            f"`sfm serve` needs the package '{error.name}'; "
            "install it with: pip install 'sfm-hub[serve]'"
        ) from None
    changes = {"run_seconds": arguments.seconds, "runs": arguments.runs}
    limits = replace(Limits(), **{k: _positive(k, v) for k, v in changes.items() if v is not None})
    token, host = arguments.token, arguments.host or LOCAL[0]
    if token is None and host not in LOCAL and not arguments.public:
        token = secrets.token_urlsafe(24)
    app = create_app(
        [_model(m) for m in arguments.models or ["sfm-tiny"]],
        limits=limits,
        token=token,
        public=arguments.public,
        watch=[_folder(path) for path in arguments.watch],
    )
    with _listen(host, PORT if arguments.port is None else arguments.port) as socket:
        port = socket.getsockname()[1]
        host = f"[{host}]" if ":" in host else host
        emit(f"http://{host}:{port}/" + (f"?token={token}" if token else ""))
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=2
        )
        uvicorn.Server(config).run(sockets=[socket])
    return 0


OF_PAGE = ("port", "token", "public", "export_space", "seconds", "runs")
OF_SOCKET = ("input", "level", "domain", "extrapolate", "compiled")


def _refuse_mixed(arguments: argparse.Namespace) -> None:
    """What belongs to the page is not for `--socket`, and the other way round.

    Raises:
        InputError: something is stated that would not be used.
    """
    from sfm.errors import InputError

    page = arguments.socket is None
    for name in OF_SOCKET if page else ("host", *OF_PAGE):
        value = getattr(arguments, name)
        if value not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag}: {'goes with' if page else 'has no use with'} --socket")


def _model(name: str) -> str:
    """A model's name; of a folder the whole path, since working processes have another folder.

    Raises:
        InputError: nothing has this name.
    """
    from sfm.hub.resolve import bundled, locate

    folder = locate(name).folder
    return name if folder is None or name in bundled() else str(folder.resolve())


def _folder(path: Path) -> Path:
    """Raises InputError where it is none; one that a run will make is not there yet."""
    from sfm.errors import InputError

    if not path.is_dir():
        raise InputError(f"--watch {path}: is no folder; name one that holds runs, or will")
    return path.resolve()


def _positive(name: str, value: Any) -> Any:
    from sfm.errors import InputError

    if not 0 < value < 1e6:
        raise InputError(f"--{name.removeprefix('run_')} {value}: must be positive")
    return value


def _listen(host: str, port: int) -> Any:
    """A socket, so that the address which is printed is the one that is open.

    Raises:
        InputError: the address is taken, or not this machine's.
    """
    import socket

    from sfm.errors import InputError

    if not 0 <= port < 65536:
        raise InputError(f"--port {port}: is none")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error})") from None
