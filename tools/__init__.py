"""What is not shipped: generated pages, the check of a GPU, benchmarks, training of the small networks."""
