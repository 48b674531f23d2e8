"""The store: run directories, their map arrays, tables and ledger."""

from audit.store.run import Account, Damage, Run, Shard

__all__ = ["Account", "Damage", "Run", "Shard"]
