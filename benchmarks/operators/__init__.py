"""The benchmark `operators`: speed, memory and exactness of differential operators, beside peers and autograd."""

SECTIONS = (
    "hollow",
    "orders",
    "absolute",
    "scan",
    "million",
    "laplacian",
    "stochastic",
    "choice",
    "compile",
    "fokker_planck",
)
PEERS = ("jax", "folx", "jet-for-pytorch")  # distributions whose versions are written beside the results
# The code that decides how well a trained net scores: stored scores of other code are not resumed.
CODE = ("benchmarks/hollow_task.py", "benchmarks/operators/nets.py", "pdekit/nets", "pdekit/operators")
