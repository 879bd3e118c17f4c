"""Hands-on analysis of hybrids: held-out losses over mixtures, intervals, cost."""
