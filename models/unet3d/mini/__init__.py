"""The small edition: what makes its files, and its network."""
