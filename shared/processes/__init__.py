"""Several processes of one program: one parent starts them, watches them and ends with them."""
