"""The command `mlperf-submission`: its commands, tables, clock and progress."""
