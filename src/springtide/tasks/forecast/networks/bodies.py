"""The bodies that a network may have, and which one a layout asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from springtide.tasks.forecast.networks.classic import ClassicLstm
from springtide.tasks.forecast.networks.lstm import Lstm
from springtide.tasks.forecast.networks.mixer import Mixer
from springtide.tasks.forecast.networks.nhits import NHits
from springtide.tasks.forecast.networks.nlinear import NLinear
from springtide.tasks.forecast.networks.patch import PatchTransformer

if TYPE_CHECKING:
    from springtide.tasks.forecast.networks.layout import Layout

__all__ = ["Body", "build_body"]

Body = ClassicLstm | Lstm | Mixer | NHits | NLinear | PatchTransformer


def build_body(layout: Layout, *, channels: int, facts: int, length: int) -> Body:
    """A fresh body for `length` steps of so many `channels`, and so many `facts` beside them."""
    match layout.network:
        case "classic":
            return ClassicLstm(channels)
        case "lstm":
            return Lstm(channels, facts)
        case "mixer":
            return Mixer(channels, facts, length)
        case "nhits":
            levels, silent = len(layout.levels), layout.season > 1
            return NHits(channels, facts, length, horizon=layout.horizon, levels=levels, silent=silent)
        case "nlinear":
            return NLinear(channels, facts, length)
        case "patch":
            return PatchTransformer(channels, facts, length)
