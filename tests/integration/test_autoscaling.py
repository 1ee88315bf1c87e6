"""Ray's autoscaler with the node types of `ray_cluster.yaml`, on machines that are only pretended.

Each is a raylet of its own with the resources of its type; a GPU is a number.
"""
