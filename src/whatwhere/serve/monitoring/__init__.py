"""What a server tells those who run it: figures, a log, drift, alerts, pictures to look at.

Nothing is sent anywhere unless an address was given for it.
"""
