"""What narrows the list of targets and walks along it: filters, queues, saved views, verdicts in bulk."""
