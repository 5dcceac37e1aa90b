"""The one reader of a submission tree: its files, texts, results and times. It knows no rule.

The validation, the page, the merge and the check before packaging stand on it.
"""
