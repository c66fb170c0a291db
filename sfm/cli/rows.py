"""`--skip-errors` and `--max-errors`: bad rows of an input are listed and left out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sfm.data.rows import Skipped


def add_skip(parser: argparse.ArgumentParser) -> None:
    """The two flags; `skipping` obeys them."""
    parser.add_argument(
        "--skip-errors", action="store_true", help="leave bad rows of the input out, and list them"
    )
    parser.add_argument(
        "--max-errors", type=int, metavar="N", help="leave at most N bad rows out, then stop"
    )


@contextmanager
def skipping(arguments: argparse.Namespace) -> Iterator[Skipped]:
    """Bad rows within the block go to the list, or raise with a hint at the flag.

    Raises:
        InputError: a bad row without the flags, or more of them than `--max-errors`.
    """
    from sfm.data.rows import HINT, RowError, Skipped, collecting
    from sfm.errors import InputError

    limit = arguments.max_errors
    if limit is not None and limit < 0:
        raise InputError(f"--max-errors {limit}: give 0 or more")
    skipped = Skipped(limit)
    collects = arguments.skip_errors or limit is not None
    try:
        with collecting(skipped if collects else None):
            yield skipped
    except RowError as error:
        raise InputError(f"{error}; {HINT}") from None
