"""A fit to look at: summary table, curves, figures and the report."""
