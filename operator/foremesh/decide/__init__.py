"""From what is declared and measured to what every agent has to do: the rooms, composed.

Pure functions of their inputs, clock included: no I/O, no Kubernetes, no global state. So the operator, the simulator
and the command line run the same code; ``pipeline`` brings the inputs in and hands the configs out.
"""

from foremesh.decide.assume import as_told, joined
from foremesh.decide.decision import carry_on, decide, next_epoch
from foremesh.decide.links import narrow_links, sizes_text
from foremesh.decide.pinning import Pinned, pinning_policies
from foremesh.decide.recover import recover
from foremesh.decide.resolve import attachment_rtt_ms, resolve
from foremesh.decide.stay import hold, keep_flowing
from foremesh.decide.values import Chosen, Decision, Declared, Forecasts, Observed, Problem, Resolution

__all__ = [
    "Chosen",
    "Decision",
    "Declared",
    "Forecasts",
    "Observed",
    "Pinned",
    "Problem",
    "Resolution",
    "as_told",
    "attachment_rtt_ms",
    "carry_on",
    "decide",
    "hold",
    "joined",
    "keep_flowing",
    "narrow_links",
    "next_epoch",
    "pinning_policies",
    "recover",
    "resolve",
    "sizes_text",
]
