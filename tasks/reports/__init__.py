"""Reports for people, as pages of Markdown. Start with `pages`.

Makes text of records, and touches nothing.
"""
