"""Ray by itself: what a sweep can't be quicker than."""

import time


def first_task() -> float:
    """When the first task of a Ray that is started for it has come back."""
    import ray

    ray.init(address="local")
    ray.get(ray.remote(lambda: None).remote())
    came_back = time.time()
    ray.shutdown()
    return came_back
