"""Faults that a run survives: processed + failed + pending = samples, and one bad sample never costs another."""
