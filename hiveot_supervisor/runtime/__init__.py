"""The embedded MQTT hub: a real broker under our care, accounts, roles, and the service that manages them.

Runs as its own process (`python -m hiveot_supervisor.runtime`); nothing else imports it.
"""
