"""The command line `hiveot-launcher`: one module per command group, nothing imports this package."""
