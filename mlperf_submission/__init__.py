"""The library: rounds, LoadGen, validation, page and store. It knows neither Prefect nor a command line."""
