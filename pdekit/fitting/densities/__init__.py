"""Transition densities: what each offers, four ways to compute them, and which serves which pairs."""
