"""The official schematrons in a worker process of their own."""
