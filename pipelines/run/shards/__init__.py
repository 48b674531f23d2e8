"""What a worker does with a shard: read, explain, score, ask again, commit."""
