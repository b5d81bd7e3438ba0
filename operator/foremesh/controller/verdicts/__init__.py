"""What is true of every object after a decision: statuses with their conditions, kind by kind. Pure.

Each message says state, cause and consequence, for somebody who reads it in ``kubectl describe``.
"""

from foremesh.controller.verdicts.basic import first_sight, not_served, policy_status, unreadable
from foremesh.controller.verdicts.circuits import circuit_status
from foremesh.controller.verdicts.intents import intent_status, kubernetes_was_away, store_is_away
from foremesh.controller.verdicts.news import News, circuit_news, intent_news, resource_news, same_words, worth_writing
from foremesh.controller.verdicts.resources import resource_status

__all__ = [
    "News",
    "circuit_news",
    "circuit_status",
    "first_sight",
    "intent_news",
    "intent_status",
    "kubernetes_was_away",
    "not_served",
    "policy_status",
    "resource_news",
    "resource_status",
    "same_words",
    "store_is_away",
    "unreadable",
    "worth_writing",
]
