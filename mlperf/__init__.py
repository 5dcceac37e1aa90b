"""The rules of each round as data, logs, audits, the official tree, its validation and its page."""
