"""What every command works with: locks, the policy, IPAM, the run directory, attachments of other plugins."""
