"""Pictures of maps and masks: pixels, and what there is to see of a target."""
