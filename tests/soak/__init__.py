"""Many processes on one database, disturbed while they work; and whether their answers hang together."""
