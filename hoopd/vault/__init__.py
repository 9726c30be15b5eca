"""Secrets of targets: sealed in the store, opened only in the broker, answered with but never handed out.

L{hoopd.vault.envelope} seals, L{hoopd.vault.master} finds the master key, L{hoopd.vault.vault} keeps,
L{hoopd.vault.challenges} answers targets in the place of workers, L{hoopd.vault.certificates} judges whom it answers.
"""
