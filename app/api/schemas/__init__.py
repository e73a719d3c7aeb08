"""The JSON of the answers, one file for each resource."""
