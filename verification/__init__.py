"""The evidence: every operator, density and simulator of pdekit held against truth that shares no code with it.

`python -m verification` runs the matrix and writes its report; `python -m verification mutants` proves that faults are
caught.
"""
