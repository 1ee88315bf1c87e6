"""How trials run: the loop, and the runners that train their links."""
