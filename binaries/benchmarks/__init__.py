"""Parts of `binaries.benchmark`: contenders in processes of their own, works and the report."""
