"""What pages read of findings: the table of all targets, examples, and the map of targets."""
