"""Break glass: the right to go past holds in an emergency, told to everybody and reviewed afterwards."""
