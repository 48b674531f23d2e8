"""Label sets: heat of a finished run refined and kept, shard by shard, over workers."""
