"""Tables of a run: their rows, their parts, and how both are packed."""
