"""ActivityWatch: `rest` reads a running server, `export` a file, `reading` what is new in either.

What they give is checked event by event: a malformed bucket event is left out and told, an answer that is no
answer at all is an error, and neither loses what stands beside it. The parts are imported one by one, since
a tick that runs every few minutes should not load what it does not use.
"""
