"""Parts of pages that answer the pointer in the browser, without asking the server."""
