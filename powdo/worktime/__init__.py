"""From bucket events to timesheets, as pure arithmetic.

Times and durations are whole microseconds since the Unix epoch (UTC). Nothing here opens, sleeps, prints
or asks the clock; time zones come in as `tzinfo` objects.
"""
