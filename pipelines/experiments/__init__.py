"""What asks a run's model again: verify, random weights, faithfulness, sanity, explain."""
