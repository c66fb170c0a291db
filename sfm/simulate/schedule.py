"""Where a backward pass over many steps stops to keep states, if it may keep only a few.

A step's adjoint needs the state before it, and states come only by going forward. With s states to
keep beside the first, and no step done more than r times (the forward pass counts) before its
adjoint, the longest chain is

    L(s, r) = (s + r + 1)! / ((s + 1)! r!)

so a fixed number of states serves any length: 56 states carry 30 000 steps at two more forward
passes. A chain is split where both sides keep to that; the right one goes first.

Source: A. Griewank and A. Walther, Algorithm 799: revolve, ACM Trans. Math. Softw. 26, 19 (2000).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb


def longest(slots: int, repeats: int) -> int:
    """L(s, r), the longest chain of steps; zero for negative arguments."""
    return comb(slots + repeats + 1, slots + 1) if min(slots, repeats) >= 0 else 0


@lru_cache(maxsize=4096)
def split(steps: int, slots: int) -> int:
    """After how many of two or more steps to keep a state, with `slots` left; the best choice."""
    repeats = 0
    while longest(slots, repeats) < steps:
        repeats += 1
    return min(longest(slots, repeats - 1), steps - longest(slots - 1, repeats - 1))


def kept(steps: int, states: int) -> list[int]:
    """Which states (0 is the first) the forward pass keeps of a chain, at most `states`."""
    places, first = [0], 0
    while len(places) < states and steps - first > 1:
        first += split(steps - first, states - len(places))
        places.append(first)
    return places
