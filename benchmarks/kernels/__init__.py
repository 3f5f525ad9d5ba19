"""Studies of single operations: each form that was tried, beside the others."""
