"""For the day on which the broker is dead: one target's credential, sealed to two officers, usable without hoopd."""
