"""The small editions of the benchmarks, and the scripts that made them."""
