"""One module per command: thin shells that join adapters, the pure core and the streams."""
