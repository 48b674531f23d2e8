"""The field's measures of a run by their standard names."""
