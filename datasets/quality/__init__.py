"""What EM can do wrong and pixels can show: where it lies, and which findings it suppresses."""
