"""What a run costs beside its network: steps of an image, tables, commits, memory."""
