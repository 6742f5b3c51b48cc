"""The benchmark `flows`: continuous normalising flows and ODE layers, beside zuko's."""

SECTIONS = ("structure", "memory", "spheres", "toys", "trace", "digits", "classifiers")
PEERS = ("zuko", "torchdiffeq", "scikit-learn")  # versions written beside the results
# The code that decides an outcome: stored outcomes of other code are not resumed.
CODE = (
    "benchmarks/flows",
    *(f"pdekit/{part}" for part in ("flows", "ode", "operators", "nets", "training.py", "threads.py")),
)
