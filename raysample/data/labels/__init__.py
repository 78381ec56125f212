"""Labels: values, class names, label origins and hierarchical levels."""
