"""Solvers of systems of nonlinear equations, a batch of them at a time."""
