"""Where images come from: one module a source, and how their files are found."""
