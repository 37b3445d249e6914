"""Supervisor's protocols: its states, its event listener protocol, its XML-RPC, and our extension inside it."""
