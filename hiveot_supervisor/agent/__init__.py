"""The agent: supervisord event listener, owner of all decisions about what runs, and the launcher's voice on the hub."""
