"""Known truth: cues planted in collections, training on them, what an audit finds beside it."""
