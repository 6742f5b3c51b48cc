"""Checks of a fitted model against its data, each with a number and what to do about it."""
