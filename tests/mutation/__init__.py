"""Mutation testing of the rooms that make accusations; no test of the suite."""
