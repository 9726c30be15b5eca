"""hoopctl: the operator's, approver's and auditor's command line; a client of control's socket, and offline checks."""
