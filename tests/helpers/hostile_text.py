"""What names and reasons may hold, and must not do to the page that shows them."""

HOSTILE = [
    "a|b",
    "<img src=x onerror=alert(1)>",
    "![x](http://x)",
    "line\nbreak",
    "`code`",
    "[red]all right[/red]",
    "[/]",
    "[link=http://x]here[/link]",
    ":smile:",
    "## heading",
    "- item",
    "1. item",
    "\x1b[2J\x1b[31mcleared",
    "back\b\rspace",
    "right\u202eleft",
]
