"""What people read of all this, as pages of Markdown. Start with `pages`.

Makes text of records, and touches nothing.
"""
