"""The store: run directories, their map arrays, tables and ledger."""

from audit.store.account import Account, Damage, Shard
from audit.store.run import Run

__all__ = ["Account", "Damage", "Run", "Shard"]
