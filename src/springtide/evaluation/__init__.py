"""Pure judgement: splits, losses, tests, gate. No disk, no network, no clock."""
