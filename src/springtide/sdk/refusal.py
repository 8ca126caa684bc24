"""The one error of a training that a person can fix."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """Something in the data, the model, the script or the parameters: says what, where and what to do."""

    def __init__(self, what: str, *, where: str, do: str) -> None:
        super().__init__(f"{what}\n  where: {where}\n  do: {do}")
        self.what, self.where, self.do = what, where, do
