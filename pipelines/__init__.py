"""The cluster side: Dask workers, the run from shard to ledger, and the command line."""
