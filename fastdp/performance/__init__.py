"""How fast this machine could be, how much there is to do, and what is reached of it."""
