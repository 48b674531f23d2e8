"""Who works on shards: the Dask client, its workers as they come and go, what each must have, whom a sample kills."""
