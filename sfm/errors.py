"""The exceptions of sfm: one root, and one exit code per kind of mistake.

Every message is one line that says what is wrong, where, and what to do. The command line prints
the message without a traceback and leaves with `exit_code`.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec

P = ParamSpec("P")


class SfmError(Exception):
    """Root of every error that sfm raises on purpose."""

    exit_code = 1


class RunError(SfmError):
    """A run failed: it diverged, met a NaN, or did not converge."""

    exit_code = 1


class InputError(SfmError):
    """The user's input cannot be used: a file, a value, an argument."""

    exit_code = 2


class OutsideError(InputError):
    """The input lies outside what the model was trained on."""


class WrongDomain(InputError):
    """A reader was given something that belongs to another domain."""


class RecipeError(InputError):
    """A recipe has an unknown key or a value of the wrong type or range."""


class PluginError(SfmError):
    """A plugin is missing, broken, duplicated, or has no such part."""

    exit_code = 3


class HubError(SfmError):
    """The Hub refused, could not be reached, or sent something damaged."""

    exit_code = 4


class SfmWarning(UserWarning):
    """What a user should know although the work goes on, in one line; for `warnings.warn`."""


class InputWarning(SfmWarning):
    """Something that a file or a call states and a run does not use, in one line.

    The command line prints it once, and `--json` lists it.
    """


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# libraries that write by themselves (HDF5, safetensors, shutil) put the number into their text
_NUMBERED = re.compile(r"(?:os error |errno = |\[Errno )(\d+)")


def disk_fault(error: BaseException, place: str | os.PathLike[str] = "") -> SfmError | None:
    """One line for what a full, read-only or unusable place made a library raise, else None.

    Args:
        error: what was raised.
        place: what was being written, named in the line.
    """
    if isinstance(error, SfmError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := _NUMBERED.search(str(error))):
        number = int(match[1])
    where = os.fspath(place) or getattr(error, "filename", None)
    if number in FULL:
        room = "" if number == errno.EIO else "; make room, or name another place"
        return RunError(f"{where or 'output'}: cannot be written ({os.strerror(number)}){room}")
    if number is None or where is None or isinstance(error, (ConnectionError, TimeoutError)):
        return None
    reason = os.strerror(number)
    named = getattr(error, "filename", None)
    if number in (errno.EEXIST, errno.ENOTDIR) and named and os.path.isfile(named):
        reason = f"{named} is a file, not a folder"
    return InputError(f"{where}: cannot be used ({reason})")


# control characters but for newline and tab, and those that change the direction of text
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""`text` without characters that would command the terminal, wherever it comes from.

    >>> printable("tiny\x1b[31m")
    'tiny?[31m'
    """
    return UNPRINTABLE.sub("?", text)


def one_line_errors(main: Callable[P, int]) -> Callable[P, int]:
    """A script's `main` that ends in an `SfmError`'s line and exit code, not in a traceback."""

    @functools.wraps(main)
    def run(*args: P.args, **options: P.kwargs) -> int:
        try:
            return main(*args, **options)
        except SfmError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'molecules'?"` for the nearest known word, or an empty string.

    >>> did_you_mean("molecule", ["molecules", "crystals"])
    " Did you mean 'molecules'?"
    """
    import difflib

    spelled = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f" Did you mean '{spelled[close[0]]}'?" if close else ""


def all_known(names: Sequence[str], known: Iterable[str], what: str) -> tuple[str, ...]:
    """`names`, each of them known; where there are none, all that are known.

    Raises:
        InputError: one of them is not, with the nearest known word.

    >>> all_known([], ["spring", "pendulum"], "system")
    ('spring', 'pendulum')
    """
    allowed = tuple(known)
    for name in names:
        if name not in allowed:
            raise InputError(
                f"no {what} '{name}' ({', '.join(allowed)}).{did_you_mean(name, allowed)}"
            )
    return tuple(names) or allowed
