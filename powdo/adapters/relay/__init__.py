"""Relays as a client: `publisher` sends events, `listener` follows subscriptions, both over websockets.

The protocol itself is the state machine of powdo.nips.relay_session; here bytes are moved.
"""
