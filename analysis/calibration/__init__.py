"""How often do intervals cover the truth, at the sizes of these very trials?

``truths`` says how true rates differ, ``designs`` which trials there are, ``lattice`` and
``methods`` compute every interval, ``study`` runs the cells and keeps the table, ``decision``
applies a stated rule to it. ``pictures`` and ``show`` are what the chapters call.
"""
