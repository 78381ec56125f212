"""The shell on Ray: the only folder that imports ray. What runs inside its tasks and actors is the plain core."""
