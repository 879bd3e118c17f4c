"""Hybrids from scratch on MAD's proxy tasks, and what is found there as a file that programs pretrained hybrids.

`tasks.mad` makes the rows; here models learn them (`data`, `compression`), small hybrids of a recipe's families are
searched on them (`proxies`, `plan`, `search`), and the mixtures that come out go to other hybrids (`program`).
"""
