"""The system file: who submits, what hardware, which benchmarks, how each is tuned."""
