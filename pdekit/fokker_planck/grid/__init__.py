"""Grids in one to three dimensions."""
