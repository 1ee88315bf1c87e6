"""What runs on a cluster's machines beside the sweep; `ray_cluster.yaml` starts it."""
