"""`pdekit simulate`."""
def simulate_paths() -> None:
    """x."""
