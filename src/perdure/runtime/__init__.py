"""Being a process: the clock, the dice, named fault points. The only room that makes time and chance."""
