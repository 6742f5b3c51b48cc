"""The benchmark `ode`: accuracy and cost of integrators on stiff and ordinary problems, beside peers."""

SECTIONS = (
    "stiff",
    "rejections",
    "hollow",
    "brusselator",
    "sensitivity",
    "film",
    "batch",
    "nonstiff",
    "flow",
)
PEERS = ("scipy", "torchdiffeq", "torchode", "diffrax", "jax", "scikit-sundae")  # versions written beside the results
# The code that decides what an integration costs: stored outcomes of other code are not resumed.
CODE = (
    "benchmarks/ode/runs.py",
    "benchmarks/ode/peers.py",
    *(f"pdekit/{part}" for part in ("ode", "operators", "nets")),
    "verification/stiff",
)
