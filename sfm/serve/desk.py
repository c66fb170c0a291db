"""What every job finds in its working process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sfm.serve.limits import Limits

Say = Callable[[str, Any], None]


class Desk:
    """What jobs find in the process: the models that the server was opened with, and the limits."""

    def __init__(self, models: Sequence[str], limits: Limits, say: Say) -> None:
        self.names, self.limits, self.say = tuple(models), limits, say
        self._loaded: dict[str, Any] = {}

    def model(self, name: str) -> Any:
        """A model of this server, loaded once per process.

        Raises:
            InputError: the server was not opened with it.
        """
        import sfm
        from sfm.errors import InputError, did_you_mean

        if name not in self.names:
            raise InputError(
                f"this page has no model '{name}' (it has {', '.join(self.names)})."
                f"{did_you_mean(name, self.names)} `sfm serve {name}` opens one with it"
            )
        if name not in self._loaded:
            self._loaded[name] = sfm.load(name)
        return self._loaded[name]
