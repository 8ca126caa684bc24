"""Rivals of a network: vectorised, fitted on the training part only, asked for the same items as everyone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from springtide.domain.errors import SettingsError
from springtide.tasks.forecast.baselines.ewma import ScaledQuantiles, fit_scaled_quantiles
from springtide.tasks.forecast.baselines.log_har import LogHar, fit_log_har
from springtide.tasks.forecast.baselines.predictor import to_target
from springtide.tasks.forecast.baselines.seasonal import fit_seasonal_quantiles
from springtide.tasks.forecast.baselines.trivial import fit_drift, fit_last_value, fit_seasonal_naive
from springtide.tasks.forecast.seasonal_scale import has_seasons

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from springtide.tasks.forecast.baselines.predictor import Predictor as Predictor
    from springtide.tasks.forecast.items import Windows

__all__ = ["COSTLY", "LogHar", "ScaledQuantiles", "fit_baselines", "fit_log_har", "fit_scaled_quantiles", "to_target"]

CHEAP: dict[str, Callable[[Windows], Predictor]] = {
    "last-value": fit_last_value,
    "drift": fit_drift,
    "seasonal-naive": fit_seasonal_naive,
    "ewma-volatility": fit_scaled_quantiles,
    "log-har": fit_log_har,
}
COSTLY = {"garch": "garch", "theta": "classical", "ets": "classical"}  # module of each, with a library of its own


def fit_baselines(windows: Windows, also: Collection[str] = ()) -> dict[str, Predictor]:
    """Every cheap rival of a run by name (``seasonal-naive-scaled`` where windows show seasons), and those of the costly ones that `also` names.

    Raises
    ------
    SettingsError
        If a costly one needs a library that is not installed, or would take minutes.
    """
    costly = {name: _load_costly(name) for name in COSTLY if name in also}  # before any fit: a library may be missing
    seasonal = {"seasonal-naive-scaled": fit_seasonal_quantiles} if has_seasons(windows) else {}
    return {name: fit(windows) for name, fit in (CHEAP | seasonal | costly).items()}


def _load_costly(name: str) -> Callable[[Windows], Predictor]:
    try:
        module = importlib.import_module(f"{__name__}.{COSTLY[name]}")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'the baseline "{name}" needs the library {error.name}, which is not installed',
            where="gate.baselines",
            do="pip install 'springtide[baselines]', or leave it out",
        ) from error
    fit: Callable[[Windows], Predictor] = getattr(module, f"fit_{name}")
    return fit
