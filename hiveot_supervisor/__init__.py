"""hiveot-supervisor: a configuration-driven process manager for IoT hub plugins, on top of supervisord."""

__version__ = "0.1.0"
