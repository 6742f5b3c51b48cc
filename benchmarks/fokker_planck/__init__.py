"""The benchmark `fokker_planck`: accuracy and cost of densities against closed forms."""

SECTIONS = ("grid", "exits", "estimate", "networks", "equilibria", "transients", "hundred", "peers")
PEERS = ("scipy", "fplanck", "py-pde")  # versions written beside the results
# The code that decides what a density costs: stored outcomes of other code are not resumed.
CODE = ("benchmarks/fokker_planck", "pdekit/fokker_planck", "pdekit/operators", "pdekit/symbolic")
