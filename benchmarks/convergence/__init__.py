"""How fast networks heal: the same faults for Foremesh, babeld, OSPF with BFD, and static routes, side by side.

``scene`` says what the network is and what happens to it, ``stream`` measures it from end to end, ``outcome`` judges
what was measured, a ``System`` is what is judged, ``lane`` runs one of them through the schedule, and ``sheet`` prints.
Nothing in the operator may import it; it uses the tests' lab.
"""
