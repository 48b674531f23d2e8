"""Rewrite the blocks of the pages that are made from code: `python -m tests.docs`."""

from __future__ import annotations

from tests.docs.blocks import BLOCKS, ROOT, SCHEMA, Block, rewritten, schema


def rewrite(block: Block) -> bool:
    """Put the block into its page, and say whether that changed the page."""
    path = ROOT / block.page
    before = path.read_text()
    after = rewritten(before, block.name, block.text())
    path.write_text(after)
    return after != before


if __name__ == "__main__":
    SCHEMA.write_text(schema())
    for block in BLOCKS:
        print(f"{block.page}: {block.name} {'rewritten' if rewrite(block) else 'as it was'}")
