"""What a benchmark is to the library: its facts, its parts, and how it answers samples."""
