"""Measures the harness against what bounds it, side by side in one run, as ratios."""
