"""The console: pages of the browser on ``bulksend.operations``. README.md says how a page is made."""
