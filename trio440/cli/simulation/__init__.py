"""How ``trio440 sim`` does its work: job processes, campaigns, replays, ablations."""
