"""Densities learned by networks, where a grid has too many cells."""
