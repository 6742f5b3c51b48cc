"""Sparse discovery: the terms of drift and noise, chosen from libraries of candidates."""

from pdekit.fitting.sparse.library import Library
from pdekit.fitting.sparse.options import SparseSDE
from pdekit.fitting.sparse.result import Candidate, SparseSearch
from pdekit.fitting.sparse.selection import search

__all__ = ["Candidate", "Library", "SparseSDE", "SparseSearch", "search"]
