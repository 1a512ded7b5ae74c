"""Pure decisions of identity: the policy of kinds, what a touchpoint asks of the graph, what the graph answered."""
