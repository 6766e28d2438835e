"""A dongle for tests: a simulated house, what its inverter's dongle sends, and the dongle as a real TCP client.

Nothing here uses the package's own decoding: what the tests expect comes from the house, not from what is tested.
"""
