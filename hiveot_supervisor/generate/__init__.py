"""Turns the model into the files that supervisord, prestart and the agent read. Pure but for `write` and `verify`."""
