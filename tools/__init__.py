"""What is not shipped: pages made from the code, checks, benchmarks, training of the small networks."""
