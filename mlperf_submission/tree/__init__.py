"""The official directory layout: what goes in, the check before, writing, merging."""
