"""Maximum likelihood: starting values, optimisation, refinement and error bars."""
