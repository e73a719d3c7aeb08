"""What the use cases return → the JSON of the answers, one file for each resource."""
