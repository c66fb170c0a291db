"""The command line: `sfm`, or `python -m sfm`.

stdout carries results only; progress, logs and errors go to stderr. Exit codes: 0 done, 1 the run
failed, 2 usage or input, 3 plugin, 4 hub, 130 interrupted. One module per command; only the module
of the command that was asked for is imported, and its handler imports the heavy things.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sfm.cli.commands import COMMANDS
from sfm.errors import InputError, SfmError, disk_fault, printable

TYPE_CHECKING = False  # without importing typing: `sfm --help` should be quick
if TYPE_CHECKING:
    from typing import Any


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911
    """Run one command and return its exit code; nothing is raised, `--debug` excepted."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        with _terminable():
            return _run(words)
    except SystemExit as done:  # --help, --version, SIGTERM
        return int(done.code or 0)
    except KeyboardInterrupt:
        print("sfm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left: `sfm ... | head`
        sys.stderr.close()
        return 0
    except SfmError as error:
        if debug:
            raise
        print(f"sfm: error: {_one_line(error)}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        fault = disk_fault(error)
        if fault is not None:
            print(f"sfm: error: {_one_line(fault)}", file=sys.stderr)
            return fault.exit_code
        print(
            f"sfm: error: {type(error).__name__}: {_one_line(error)} "
            "(unexpected; --debug shows where)",
            file=sys.stderr,
        )
        return 1


def _one_line(error: Exception) -> str:
    return printable(" ".join(str(error).split()))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM leaves as Ctrl-C does, so that half-written files are removed; exit code 143."""
    import signal
    import threading

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(words: list[str]) -> int:
    from sfm.cli.parser import parse

    handler, arguments = parse(words)
    from sfm.cli.output import input_warnings, results_only
    from sfm.cli.progress import ProgressLines
    from sfm.progress import listening

    with results_only(), input_warnings(), ProgressLines() as lines, listening(lines):
        return handler(arguments) or 0


__all__ = ["COMMANDS", "InputError", "main"]
