"""Files of the run directory: attachments, VF identities, defaults, recent calls, problems of the daemon."""
