"""A network and a training loop of one's own: what fanin measures, the laws it knows, and its files, beside them."""
