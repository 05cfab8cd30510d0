"""Probes of containment: small attempts at what no task may do, and at what every task must be able to do.

Every probe says what it tries and with which answers it counts as denied. The same probes run outside a sandbox, where
they must succeed: one that fails there as well proves nothing on that machine, and is counted apart. Standard library
only, from Python 3.9 on.
"""
