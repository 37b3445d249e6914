"""Keys, tokens and certificates: their formats, their files, and how a plugin gets them.

`expiry` and `store` need only the standard library; `keys`, `tokens` and `certificates` import cryptography
when something is made or verified, so that a check of what is already there stays cheap.
"""
