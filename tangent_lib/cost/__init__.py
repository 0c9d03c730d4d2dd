"""What training and evaluation take: counted from shapes, measured in a few steps, and added up for both papers."""
