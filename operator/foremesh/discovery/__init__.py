"""Resource discovery and intents (RD&I): who is there, what they offer, which of them an Intent is about.

``registry`` holds the mission's calls over any ``store``; ``matching`` decides, in values. Everything here is soft
state that its writers can write again. It knows neither Kubernetes nor measurements.
"""
