"""Every system there is to compare, by name, in the order of the table."""

from __future__ import annotations

from convergence.daemons import Babel, BabelDefault, Ospf, OspfDefault
from convergence.foremesh import Foremesh, ForemeshAlone
from convergence.system import Static, System

SYSTEMS: dict[str, type[System]] = {
    one.name: one for one in (Foremesh, ForemeshAlone, Ospf, OspfDefault, Babel, BabelDefault, Static)
}
