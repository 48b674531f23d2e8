"""What `make faults` tries against a run."""
