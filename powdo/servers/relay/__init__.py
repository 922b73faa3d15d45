"""The community's own relay: keeps events for people on a list, gift wraps for their recipients only.

`policy` decides what is written, `query` turns a filter into SQL, `store` keeps events durably, `hub` fans
them out, `connection` speaks the protocol with one client, `application` joins them behind one port.
"""
