"""What findings are made from: arrays of one row a target, gathered from a run's tables."""
