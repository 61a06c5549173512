"""The pages, a module for each with a ``router``; ``ops.web.app`` lists them."""
