"""GPS trajectories on roads: records, data, conditions.

``records`` has the two forms of a set of trajectories, ``plane`` the road graph in projected
metres, ``porto`` the observed taxi trips, ``conditions`` what a trajectory is generated from.
"""
