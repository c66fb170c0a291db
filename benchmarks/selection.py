"""What `--only` asks for."""

from __future__ import annotations

from collections.abc import Iterable


def words(only: str | None) -> list[str]:
    """The names in `--only`."""
    return [w.strip() for w in (only or "").split(",") if w.strip()]


def _named(word: str, names: Iterable[str]) -> list[str]:
    return [n for n in names if n == word or n.startswith(f"{word} ")]


def chosen(only: str | None, names: tuple[str, ...]) -> list[str]:
    """Those of `names` that `--only` names; all if it names none of this kind."""
    picked = {n for word in words(only) for n in _named(word, names)}
    return [n for n in names if n in picked] or list(names)


def families(only: str | None, names: dict[str, tuple[str, ...]]) -> list[str]:
    """The families (with their names) to run: those named, else those that know all the words.

    Raises:
        ValueError: a word is none of the names, or no family knows all of them.
    """
    given = words(only)
    for word in given:
        if not any(_named(word, known) for known in names.values()):
            everything = sorted({n for known in names.values() for n in known})
            raise ValueError(f"--only: '{word}' is none of {', '.join(everything)}")
    matching = [f for f, known in names.items() if all(_named(word, known) for word in given)]
    if not matching:
        raise ValueError(f"--only: {', '.join(given)} belong to different families")
    return matching
