"""Reports for people: each is a page, which `markdown` and `terminal` render. Start with `pages`.

Makes pages of records, and decides nothing.
"""
