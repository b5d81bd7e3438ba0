"""From what is declared and measured to what every agent has to do: the rooms, composed.

Pure functions of their inputs, clock included: no I/O, no Kubernetes, no global state. So the operator, the simulator
and the command line run the same code; ``pipeline`` brings the inputs in and hands the configs out.
"""

from foremesh.decide.assume import as_told, joined
from foremesh.decide.decision import carry_on, decide, next_epoch
from foremesh.decide.doubles import doubles
from foremesh.decide.explained import Unexplained, at_length, contenders, explain_intent, explain_object, explanation
from foremesh.decide.links import narrow_links, sizes_text
from foremesh.decide.physics import within_physics
from foremesh.decide.pinning import Pinned, pinning_policies
from foremesh.decide.planners import MAIN, Made, Planners, as_measured
from foremesh.decide.recover import recover
from foremesh.decide.resolve import attachment_rtt_ms, resolve
from foremesh.decide.stay import hold, keep_flowing
from foremesh.decide.unnamed import Gateways
from foremesh.decide.values import Chosen, Decision, Declared, Forecasts, Observed, Problem, Resolution

__all__ = [
    "MAIN",
    "Chosen",
    "Decision",
    "Declared",
    "Forecasts",
    "Gateways",
    "Made",
    "Observed",
    "Pinned",
    "Planners",
    "Problem",
    "Resolution",
    "Unexplained",
    "as_measured",
    "as_told",
    "at_length",
    "attachment_rtt_ms",
    "carry_on",
    "contenders",
    "decide",
    "doubles",
    "explain_intent",
    "explain_object",
    "explanation",
    "hold",
    "joined",
    "keep_flowing",
    "narrow_links",
    "next_epoch",
    "pinning_policies",
    "recover",
    "resolve",
    "sizes_text",
    "within_physics",
]
