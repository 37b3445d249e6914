"""The agent: supervisord's event listener, owner of all decisions, and the launcher's voice on the hub."""
