"""The pre-start hook: runs in the plugin's own PID, opens the gates, makes the credentials, then becomes the plugin."""
