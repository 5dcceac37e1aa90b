"""Runs in S3: they go in once and whole, and come out verified."""
