"""The benchmark `fitting`: how near `pdekit.fit` comes to the information bound, how fast, and beside its peers."""

SECTIONS = (
    "bounds",
    "timing",
    "double_well",
    "discretisation",
    "cir_convergence",
    "real_data",
    "simulation",
    "peers",
    "intervals",
    "learned",
    "sparse",
    "observed",
    "rungs",
    "snapshots",
    "matching",
    "faults",
    "resume",
)
PEERS = ("torchsde",)  # distributions whose versions are written beside the results
# The code that decides a fit or a simulated series: stored fits of other code are not resumed.
CODE = (
    "benchmarks/fitting/truth.py",
    "benchmarks/fitting/samples.py",
    "benchmarks/fitting/subject.py",
    *(f"pdekit/{part}" for part in ("sde.py", "symbolic", "data", "operators", "fokker_planck", "fitting")),
)
