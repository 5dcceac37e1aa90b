"""Verified downloads over HTTP and from files."""
