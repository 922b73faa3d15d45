"""The steps that made the tables of the proof-of-work service what they are."""
