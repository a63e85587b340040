"""How following a text through a grammar ends; shared by the two ways in which it is done."""

FOLLOWED, REFUSED, MISSING, UNSAFE, TOO_DEEP, GOING = range(6)
LOCAL = 16  # frames that one text may add
