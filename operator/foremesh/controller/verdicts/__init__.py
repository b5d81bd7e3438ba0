"""What is true of every object after a decision: statuses with their conditions, kind by kind. Pure.

Each message says state, cause and consequence, for somebody who reads it in ``kubectl describe``.
"""

from foremesh.controller.verdicts.basic import first_sight, not_served, policy_status, shadow_text, unreadable
from foremesh.controller.verdicts.circuits import circuit_status
from foremesh.controller.verdicts.intents import (
    intent_status,
    kubernetes_was_away,
    store_is_away,
    told_at_length,
)
from foremesh.controller.verdicts.news import (
    News,
    circuit_news,
    intent_news,
    names_news,
    resource_news,
    same_words,
    worth_writing,
)
from foremesh.controller.verdicts.resources import resource_status

__all__ = [
    "News",
    "circuit_news",
    "circuit_status",
    "first_sight",
    "intent_news",
    "intent_status",
    "kubernetes_was_away",
    "names_news",
    "not_served",
    "policy_status",
    "resource_news",
    "resource_status",
    "same_words",
    "shadow_text",
    "store_is_away",
    "told_at_length",
    "unreadable",
    "worth_writing",
]
