"""Readings that see the state with noise, or only in part: filters that give their likelihood."""

from pdekit.fitting.filtering.choose_filter import FilterLikelihood, FilterMethod, filter_likelihood
from pdekit.fitting.filtering.grid_filter import GridFilterLikelihood
from pdekit.fitting.filtering.kalman import KalmanLikelihood
from pdekit.fitting.filtering.observation import Observation, check_columns, observed_model
from pdekit.fitting.filtering.starting_filter import starting_values_observed

__all__ = [
    "FilterLikelihood",
    "FilterMethod",
    "GridFilterLikelihood",
    "KalmanLikelihood",
    "Observation",
    "check_columns",
    "filter_likelihood",
    "observed_model",
    "starting_values_observed",
]
