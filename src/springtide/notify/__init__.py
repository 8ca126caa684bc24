"""How a notice leaves the house: to whatever apprise knows, and to webhooks with a signature."""
