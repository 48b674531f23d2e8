"""Where a run's files lie: a directory or a bucket, written whole or not at all."""
