"""What is on the disk: damage, locks, writers, scorings."""
