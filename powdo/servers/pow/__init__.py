"""The service that mines for others: alone on a port of its own, or inside the relay."""
