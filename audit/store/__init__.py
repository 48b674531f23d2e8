"""The store: run directories, their map arrays, tables and ledger."""

from audit.store.run import Account, Run, Shard

__all__ = ["Account", "Run", "Shard"]
