"""What `hiveot-launcher doctor` looks at: one module a check, each with a NAME and a function `look`.

A check reads and never changes anything; it may fail in any way, which is then a finding of its own.
"""
