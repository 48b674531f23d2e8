"""Findings held against planted truth, beside other ways to find it: regimes, photographs, one worked case."""
