"""Controls for hybrids in JupyterLab; every control shows or edits a recipe and computes nothing itself."""
