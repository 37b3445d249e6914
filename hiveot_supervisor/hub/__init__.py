"""Talking to a hub: one port (`client`), its bindings, and the envelopes they share."""
