"""Taking turns: what is measured side by side, and what happens when one of them breaks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from processes import PeerError

Key = TypeVar("Key", bound=Hashable)
Times = dict[str, list[float]]


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def take_turns(
    label: str,
    blocks: Mapping[Key, Callable[[], dict[str, Any]]],
    rounds: int,
    fail: Callable[[Key, PeerError], None],
) -> dict[Key, Times]:
    """{"cpu": [...], "wall": [...]} of each block, one number a turn.

    Turns go forwards and then backwards (A B C, C B A, ...), so that drift of the machine cancels
    in ratios within a turn. A block that raises `PeerError` is reported to `fail` and left out,
    with what was measured of it.
    """
    times: dict[Key, Times] = {key: {"cpu": [], "wall": []} for key in blocks}
    for turn in range(rounds):
        say(f"  {label}: turn {turn + 1} of {rounds}")
        for key in list(times) if turn % 2 == 0 else list(reversed(times)):
            try:
                block = blocks[key]()
            except PeerError as error:
                fail(key, error)
                del times[key]
                continue
            for clock, values in times[key].items():
                values.append(block[clock])
    return times
