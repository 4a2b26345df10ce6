"""Building the book: the command behind ``make book`` and the Sphinx extension it uses.

Nothing here computes a result; nothing that computes a result imports from here.
"""
