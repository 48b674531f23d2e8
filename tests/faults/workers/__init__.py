"""Who works: kills, signals, losses, threads, other users."""
