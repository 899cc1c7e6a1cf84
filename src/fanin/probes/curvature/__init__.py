"""Curvature of a loss: products with its Hessian, and what is read off them without ever holding the matrix."""
