"""What runs on the device: drafting, sessions, the link as the device sees it."""
