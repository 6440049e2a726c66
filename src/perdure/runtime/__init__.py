"""Being a process: the clock, the dice, the parent, named fault points. The only room that makes time and chance."""
