"""Executable meta-analysis of CAR T-cell therapy in chronic lymphocytic leukemia."""
