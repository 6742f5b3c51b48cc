"""Faults seeded in pdekit's own source, and the checks of `pdekit.testing` that must catch every one of them.

Nothing is imported here: a fault has to be planted before the first import of pdekit.
"""
