"""Measurements of pdekit against theory and against its peers: `python -m benchmarks NAME --json`."""
