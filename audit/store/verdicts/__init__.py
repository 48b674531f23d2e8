"""What reviewers decided: a log to which is only added."""
