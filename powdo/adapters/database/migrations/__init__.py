"""The DVM's schema, step by step."""
