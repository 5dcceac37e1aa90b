"""What is not shipped: pages made from the code, benchmarks, training of the small networks."""
