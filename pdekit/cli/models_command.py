"""`pdekit models`."""
def show_models() -> None:
    """x."""
