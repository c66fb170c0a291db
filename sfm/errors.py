"""The exceptions of sfm: one root, and one exit code per kind of mistake.

Every message is one line that says what is wrong, where, and what to do. The command line prints
the message without a traceback and leaves with `exit_code`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
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


class RecipeError(InputError):
    """A recipe has an unknown key or a value of the wrong type or range."""


class PluginError(SfmError):
    """A plugin is missing, broken, duplicated, or has no such part."""

    exit_code = 3


class HubError(SfmError):
    """The Hub refused, could not be reached, or sent something damaged."""

    exit_code = 4


class InputWarning(UserWarning):
    """Something that a file or a call states and a run does not use, in one line.

    Raised with `warnings.warn`; the command line prints it once, and `--json` lists it.
    """


def one_line_errors(main: Callable[P, int]) -> Callable[P, int]:
    """A script's `main` that ends in an `SfmError`'s line and exit code, not in a traceback."""

    @functools.wraps(main)
    def run(*args: P.args, **options: P.kwargs) -> int:
        try:
            return main(*args, **options)
        except SfmError as error:
            print(f"error: {error}", file=sys.stderr)
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
