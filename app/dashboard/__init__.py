"""What an administrator sees in a browser, and what a monitor polls."""
