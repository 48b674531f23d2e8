"""An audit: planned, handed to workers shard by shard, accounted for."""
