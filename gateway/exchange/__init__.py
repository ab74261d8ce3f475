"""The heart: intake, gathering of verdicts, the single ACK, deliveries, outcomes, facts."""
