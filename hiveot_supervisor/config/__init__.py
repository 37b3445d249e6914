"""launcher.yaml -> model: reading, describing what is wrong, resolving. The only reader of launcher.yaml."""
