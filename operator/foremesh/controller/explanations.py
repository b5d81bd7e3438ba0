"""The newest decision for whoever asks why: a page of the operator's, made when somebody looks."""

from __future__ import annotations

from typing import Any

from foremesh.decide import Decision, Declared, Unexplained, explain_object
from foremesh.model.manifest import write


class Explanations:
    """What was decided last, and from what."""

    def __init__(self) -> None:
        self._newest: tuple[Decision, Declared] | None = None

    def keep(self, decision: Decision, declared: Declared) -> None:
        self._newest = decision, declared

    def page(self, what: str) -> dict[str, Any]:
        """``intent/NAME`` or ``circuit/NAME``, explained.

        Raises:
            Unexplained: If there is no such thing, or no plan yet.
        """
        if self._newest is None:
            raise Unexplained("there is no plan yet", "ask again in a minute")
        found = explain_object(what, *self._newest)
        return {"explained": what, "intents": [write(one) for one in found]}
