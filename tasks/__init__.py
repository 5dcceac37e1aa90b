"""One file per step of a flow: thin, typed, retryable wrappers with their Prefect settings."""
