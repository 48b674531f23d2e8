"""Claims: what holds of more than one target. A kind is one class in one file, and one line of the registry."""
