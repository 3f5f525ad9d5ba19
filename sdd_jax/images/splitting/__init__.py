"""How images become splits: who is who, which files are good, who goes where."""
