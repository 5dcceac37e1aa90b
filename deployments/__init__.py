"""Systems as YAML files, and what an operator needs to deploy the flows."""
